// In which order linears are listed, and how many of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

enum class LinearKey {
  kFile,   ///< as in the file
  kName,   ///< by the alphabet, numbers by their value
  kShape,  ///< most weights first
  kSize,   ///< largest in the result first
  kGain,   ///< where the method gains most over rounding to nearest first
  kError,  ///< largest relative error first
};

struct LinearOrder {
  LinearKey key = LinearKey::kFile;
  int64_t top = 0;  ///< at most so many; 0: all
};

/// What linears are ordered by.
struct LinearFacts {
  std::string name;
  int64_t weights = 0;
  int64_t bytes = 0;
  std::optional<double> error;      ///< of the output's energy; absent where nothing was measured
  std::optional<double> error_rtn;  ///< the same by rounding to nearest
};

/// Indices of the linears to list. Equal ones stay in the file's order, and those without an error
/// come last. Throws UsageError when linears of which none has an error are to be ordered by it.
[[nodiscard]] std::vector<size_t> Arranged(std::span<const LinearFacts> linears,
                                           const LinearOrder& order);

/// The same done to "linears" of quantization metadata, and of each of its "models". Throws
/// InputError when it is none.
[[nodiscard]] nlohmann::ordered_json ArrangedMetadata(nlohmann::ordered_json metadata,
                                                      const LinearOrder& order);

}  // namespace ptq
