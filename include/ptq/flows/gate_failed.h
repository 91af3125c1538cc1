// The error of a result that did not keep its gates, with what was measured.
#pragma once

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/plan/gate.h"

namespace ptq {

/// Nothing is left of that result but what it measured.
// NOLINTNEXTLINE(bugprone-exception-escape): copying JSON may throw only for want of memory
class GateFailed : public QualityError {
 public:
  GateFailed(const std::string& message, GateReport report, nlohmann::ordered_json metadata)
      : QualityError(message), report_(std::move(report)), metadata_(std::move(metadata)) {}
  /// Of all attempts, the last of which failed.
  [[nodiscard]] const GateReport& report() const { return report_; }
  /// Of the result that failed.
  [[nodiscard]] const nlohmann::ordered_json& metadata() const { return metadata_; }

 private:
  GateReport report_;
  nlohmann::ordered_json metadata_;
};

}  // namespace ptq
