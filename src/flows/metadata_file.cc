// Looks for metadata where run writes them.
#include "metadata_file.h"

#include "ptq/emit/metadata.h"
#include "ptq/pipeline/single_file.h"

namespace ptq {

namespace fs = std::filesystem;

fs::path MetadataFileOf(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    fs::path file = path / kMetadataFileName;
    return fs::exists(file, error) ? file : fs::path();
  }
  if (path.extension() == ".json") return path;
  if (fs::exists(MetadataOfSingleFile(path), error)) return MetadataOfSingleFile(path);
  for (const fs::path& directory : {path.parent_path(), path.parent_path().parent_path()}) {
    fs::path file = directory / kMetadataFileName;
    if (fs::exists(file, error)) return file;
  }
  return {};
}

}  // namespace ptq
