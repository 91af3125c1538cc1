// Where files are whose names are links: a cache of Hugging Face, a folder of links to models.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ptq {

/// A repository as huggingface_hub keeps it: `models--acme--tiny/snapshots/<revision>/…`, whose
/// files are links to `models--acme--tiny/blobs/<hash>`.
struct CachedRepository {
  std::string id;                  ///< "acme/tiny"; the directory's own name when it is another
  std::filesystem::path snapshot;  ///< the revision's directory, without links
  std::filesystem::path blobs;     ///< without links
  /// "tiny".
  [[nodiscard]] std::string name() const;
};

/// The repository in a snapshot of which `path` (a file or a directory) lies. A file that is a link
/// lies where the link is.
[[nodiscard]] std::optional<CachedRepository> FindCachedRepository(
    const std::filesystem::path& path);

/// The directories in which a file has neighbours: its own first, then that of each file which a
/// chain of links leads to. `file` need not exist.
[[nodiscard]] std::vector<std::filesystem::path> DirectoriesOf(const std::filesystem::path& file);

}  // namespace ptq
