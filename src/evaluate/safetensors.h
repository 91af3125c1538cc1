// Reads the few weights that lie beside a model as safetensors.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// One tensor of a safetensors file (F32, F16, BF16 or F64) as float32; nothing when the file has
/// none of that name. Throws InputError for a malformed file, UnsupportedError for other types.
/// Format: https://github.com/huggingface/safetensors#format
[[nodiscard]] std::optional<Tensor> ReadSafetensor(const std::filesystem::path& path,
                                                   const std::string& name);

}  // namespace ptq
