// NumPy's .npy and .npz files, read into and written from tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Whether a file holds arrays, by its content or, where that is damaged, by its name.
[[nodiscard]] bool IsArrayFile(const std::filesystem::path& path);

/// One array of a .npy file (format 1.0–3.0, little-endian, C or Fortran order; stored C).
/// Throws InputError with the file's name for anything malformed.
[[nodiscard]] Tensor ReadNpy(const std::filesystem::path& path);
/// Every array of a .npz archive by name without ".npy". Throws InputError.
[[nodiscard]] std::map<std::string, Tensor> ReadNpz(const std::filesystem::path& path);
/// Writes an uncompressed archive under a temporary name, then renames it. Throws OutputError.
void WriteNpz(const std::filesystem::path& path, const std::map<std::string, Tensor>& arrays);

}  // namespace ptq
