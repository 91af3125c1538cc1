// Reads gates, and writes what they have measured.
#include "ptq/plan/gate.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kGateExample[] = "; write it like 'ppl<=1.06x', 'kl<=0.05' or 'cosine>=0.95'";

std::string Short(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

}  // namespace

Gate ParseGate(const std::string& text) {
  const auto refuse = [&](const std::string& what) {
    throw UsageError("--gate: '" + text.substr(0, 100) + "' " + what + kGateExample);
  };
  const size_t sign = text.find_first_of("<>");
  if (sign == std::string::npos || sign + 1 >= text.size() || text[sign + 1] != '=') {
    refuse("has no <= or >=");
  }
  Gate gate;
  gate.text = text;
  gate.figure = Trimmed(text.substr(0, sign));
  gate.at_most = text[sign] == '<';
  std::string number = Trimmed(text.substr(sign + 2));
  gate.relative = number.ends_with('x');
  if (gate.relative) number.pop_back();
  char* end = nullptr;
  gate.bound = std::strtod(number.c_str(), &end);
  if (gate.figure.empty()) refuse("names no figure");
  if (number.empty() || *end != '\0' || !std::isfinite(gate.bound)) refuse("has no number");
  return gate;
}

std::string GateText(const GateResult& result) {
  const bool at_most = result.gate.find('<') != std::string::npos;
  std::string text = result.figure + " " +
                     (result.value.has_value() ? Short(*result.value) : "not measurable") + ", " +
                     (at_most ? "at most " : "at least ") + Short(result.bound);
  if (result.gate.ends_with('x') && result.reference.has_value()) {
    text += " (" + result.gate + " of " + Short(*result.reference) + ")";
  }
  return text;
}

Json ToJson(const GateReport& report) {
  Json results = Json::array(), fallback = Json::array();
  for (const GateResult& result : report.results) {
    results.push_back({{"gate", result.gate},
                       {"figure", result.figure},
                       {"value", NumberOrNull(result.value)},
                       {"bound", NumberOrNull(result.bound)},
                       {"reference", NumberOrNull(result.reference)},
                       {"passed", result.passed}});
  }
  for (const FallbackEntry& entry : report.fallback) {
    fallback.push_back({{"name", entry.name},
                        {"model", entry.model.empty() ? Json(nullptr) : Json(entry.model)},
                        {"form", entry.form},
                        {"relative_loss", NumberOrNull(entry.relative_loss)},
                        {"bytes", entry.bytes},
                        {"bytes_before", entry.bytes_before.has_value() ? Json(*entry.bytes_before)
                                                                        : Json(nullptr)}});
  }
  return {{"text", {{"file", report.text_file}, {"sha256", report.text_sha256}}},
          {"attempts", report.attempts},
          {"results", std::move(results)},
          {"fallback", std::move(fallback)}};
}

}  // namespace ptq
