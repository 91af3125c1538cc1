// Two models side by side, as text and as JSON.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/comparison.h"

namespace ptq {

/// By which difference tensors are listed.
enum class ComparisonOrder {
  kFile,   ///< as in the file
  kLoss,   ///< largest change of the relative loss first
  kBytes,  ///< largest change of the size first
};

struct ComparisonList {
  ComparisonOrder order = ComparisonOrder::kFile;
  int64_t top = 0;   ///< at most so many; 0: all
  bool all = false;  ///< tensors that are the same, too
};

[[nodiscard]] std::string ComparisonText(const Comparison& comparison, const ComparisonList& list);
/// Every tensor, in the list's order.
[[nodiscard]] nlohmann::ordered_json ComparisonJson(const Comparison& comparison,
                                                    const ComparisonList& list);

}  // namespace ptq
