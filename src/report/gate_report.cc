// Lines on gates for the summary of a run.
#include "ptq/report/gate_report.h"

#include <map>

#include "ptq/base/format.h"

namespace ptq {
namespace {

constexpr size_t kNamed = 3;  ///< tensors that a line names; the metadata has all

std::string FallbackText(const GateReport& report) {
  std::map<std::string, int64_t> counts;
  int64_t more = 0;
  bool known = true;
  std::string names;
  for (size_t i = 0; i < report.fallback.size(); ++i) {
    const FallbackEntry& entry = report.fallback[i];
    ++counts[entry.form];
    known = known && entry.bytes_before.has_value();
    more += entry.bytes - entry.bytes_before.value_or(0);
    if (i < kNamed) names += (i == 0 ? "" : ", ") + entry.name;
  }
  if (report.fallback.size() > kNamed) names += ", ...";
  std::string text;
  for (const auto& [form, count] : counts) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " tensors to " + form;
  }
  if (known) text += ", " + FormatBytes(more) + " more";
  return text + ", found in " + std::to_string(report.attempts) + " attempts (" + names + ")";
}

}  // namespace

std::string GatesText(const GateReport& report) {
  std::string text;
  for (const GateResult& result : report.results) {
    text += "gate          " + GateText(result) + (result.passed ? ": holds\n" : ": FAILS\n");
  }
  if (!report.fallback.empty()) text += "fallback      " + FallbackText(report) + "\n";
  return text;
}

}  // namespace ptq
