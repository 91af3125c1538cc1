// The error of a result that did not keep its gates, with what was measured.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/plan/gate.h"

namespace ptq {

/// Nothing is left of that result but what it measured.
// NOLINTNEXTLINE(bugprone-exception-escape): copying JSON may throw only for want of memory
class GateFailed : public QualityError {
 public:
  GateFailed(const std::string& message, std::vector<GateResult> results,
             nlohmann::ordered_json metadata)
      : QualityError(message), results_(std::move(results)), metadata_(std::move(metadata)) {}
  [[nodiscard]] const std::vector<GateResult>& results() const { return results_; }
  /// Of the result that failed.
  [[nodiscard]] const nlohmann::ordered_json& metadata() const { return metadata_; }

 private:
  std::vector<GateResult> results_;
  nlohmann::ordered_json metadata_;
};

}  // namespace ptq
