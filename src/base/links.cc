// Follows links, and knows the layout of a Hugging Face cache.
#include "ptq/base/links.h"

#include <algorithm>
#include <string_view>
#include <system_error>

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// Longer chains of links are refused by the system, too.
constexpr int kLongestChain = 40;

/// "models--acme--tiny" is the repository acme/tiny.
std::string RepositoryId(const std::string& directory) {
  static constexpr std::string_view kKind = "models--";
  if (!directory.starts_with(kKind)) return directory;
  std::string id = directory.substr(kKind.size());
  if (const size_t dashes = id.find("--"); dashes != std::string::npos) id.replace(dashes, 2, "/");
  return id;
}

}  // namespace

std::string CachedRepository::name() const { return id.substr(id.rfind('/') + 1); }

std::optional<CachedRepository> FindCachedRepository(const fs::path& path) {
  std::error_code error;
  fs::path own = fs::absolute(path, error);
  if (!fs::is_directory(own, error)) own = own.parent_path();
  own = fs::weakly_canonical(own, error);
  for (; own.has_relative_path(); own = own.parent_path()) {
    const fs::path snapshots = own.parent_path();
    const fs::path blobs = snapshots.parent_path() / "blobs";
    if (snapshots.filename() != "snapshots" || !fs::is_directory(blobs, error)) continue;
    return CachedRepository{RepositoryId(snapshots.parent_path().filename().string()), own,
                            fs::weakly_canonical(blobs, error)};
  }
  return std::nullopt;
}

std::vector<fs::path> DirectoriesOf(const fs::path& file) {
  std::vector<fs::path> directories;
  std::error_code error;
  fs::path at = file;
  for (int i = 0; i <= kLongestChain; ++i) {
    const fs::path own = at.parent_path();
    if (std::ranges::find(directories, own) == directories.end()) directories.push_back(own);
    if (!fs::is_symlink(at, error)) break;
    at = (own / fs::read_symlink(at, error)).lexically_normal();
    if (error) break;
  }
  return directories;
}

}  // namespace ptq
