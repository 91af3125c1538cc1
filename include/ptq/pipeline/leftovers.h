// What runs that ended early have left, so that it can be seen and removed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

struct Leftover {
  std::filesystem::path path;
  std::string what;        ///< "checkpoint", "unfinished result", "unfinished file", ...
  int64_t bytes = 0;       ///< of the files in it
  double age_seconds = 0;  ///< since it was last written
  std::string kept;        ///< why it is not removed; empty when it may be
};

/// The leftovers in a directory, and that beside it when it is a destination, by name. Only what
/// bears the marks of this program counts: directories ".<name>.part" with its lock, results
/// ".<name>.part.old" that were about to be replaced, models ".<name>.onnx.result" that had not got
/// their name yet, statistics files "<name>.part". Links are not followed. Throws InputError when
/// `directory` is none.
[[nodiscard]] std::vector<Leftover> FindLeftovers(const std::filesystem::path& directory);

/// Removes one that may be; `kept` says why it was not. Returns whether it is gone.
bool RemoveLeftover(Leftover& leftover);

}  // namespace ptq
