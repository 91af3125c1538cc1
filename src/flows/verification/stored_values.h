// What a written model's constants may hold.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

struct StoredValues {
  int64_t scales = 0;                 ///< tensors that were looked at
  std::vector<std::string> problems;  ///< scales that are no finite numbers
};

/// Reads every constant scale of a quantized operator. Throws InputError for a model that cannot be
/// read.
[[nodiscard]] StoredValues CheckStoredValues(const std::filesystem::path& model);

}  // namespace ptq
