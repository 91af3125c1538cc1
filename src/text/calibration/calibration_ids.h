// Reads token ids from .npy and .npz files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

struct IdFile {
  std::string format;                      ///< "npz" or "npy"
  std::vector<std::vector<int64_t>> rows;  ///< as in the file, without their padding
  int64_t empty = 0;                       ///< rows that held padding only
};

/// Throws InputError for missing or malformed arrays.
[[nodiscard]] IdFile ReadCalibrationIds(const std::filesystem::path& path);

}  // namespace ptq
