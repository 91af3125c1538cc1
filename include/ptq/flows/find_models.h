// The models below a directory, each of them a source of run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

struct FoundModel {
  std::filesystem::path source;  ///< a directory with one model or with parts of one, or a file
  std::string base;              ///< its path below the directory searched, with '-' for '/'
  int64_t bytes = 0;             ///< of all files of the source, or of the file
};

/// Sorted by path. A directory with a model in it (or in its folder `onnx`) is one source; when its
/// models do not belong together, each of them is one. Others are searched, hidden ones and results
/// of this program excepted, and `leave_out` with what is below it. What links lead to
/// counts once. `directory` may be a model itself. Throws InputError when it cannot be read.
[[nodiscard]] std::vector<FoundModel> FindModels(const std::filesystem::path& directory,
                                                 const std::filesystem::path& leave_out = {});

}  // namespace ptq
