// Lists what was looked at in a result, and what is wrong with it.
#include "ptq/report/verification_report.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

const char* StateOf(const VerificationCheck& check) {
  if (!check.problems.empty()) return "failed";
  return check.skipped.empty() ? "passed" : "skipped";
}

}  // namespace

std::string VerificationText(const VerificationReport& report) {
  size_t width = 0;
  for (const VerificationCheck& check : report.checks) width = std::max(width, check.name.size());
  std::string text;
  for (const VerificationCheck& check : report.checks) {
    const std::string& what = check.skipped.empty() ? check.what : check.skipped;
    text += fmt::format("{:<7}  {:<{}}  {}\n", StateOf(check), check.name, width, what);
    for (const std::string& problem : check.problems) text += "         " + problem + '\n';
  }
  const auto failed = std::ranges::count_if(
      report.checks, [](const auto& check) { return !check.problems.empty(); });
  return text + (failed == 0 ? "'" + report.result.string() + "' is what was written, and works\n"
                             : fmt::format("'{}' fails {} of {} checks\n", report.result.string(),
                                           failed, report.checks.size()));
}

Json VerificationJson(const VerificationReport& report) {
  Json checks = Json::array();
  for (const VerificationCheck& check : report.checks) {
    checks.push_back({{"name", check.name},
                      {"state", StateOf(check)},
                      {"what", check.what},
                      {"problems", check.problems},
                      {"skipped", check.skipped}});
  }
  return {{"result", report.result.string()},
          {"passed", report.passed()},
          {"checks", std::move(checks)}};
}

}  // namespace ptq
