// Quality gates: what a result must keep on held-out text, and what became of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

/// A limit of one figure of an evaluation (ptq/evaluate/figures.h).
struct Gate {
  std::string figure;   ///< by name or key: "ppl"
  bool at_most = true;  ///< else at least
  double bound = 0;
  bool relative = false;  ///< the bound is in units of what the source has
  std::string text;       ///< as written: "ppl<=1.06x"
};

/// Reads "FIGURE<=NUMBER", "FIGURE>=NUMBER", each also with an x behind the number: times what the
/// source has. Throws UsageError.
[[nodiscard]] Gate ParseGate(const std::string& text);

/// What a gate has measured.
struct GateResult {
  std::string gate;  ///< as written
  std::string figure;
  std::optional<double> value;      ///< absent where it does not exist; then the gate has failed
  double bound = 0;                 ///< that it had to keep
  std::optional<double> reference;  ///< the figure of the source, where it has one
  bool passed = false;
};

/// A tensor that got more bits than the recipe says.
struct FallbackEntry {
  std::string name;
  std::string model;                    ///< of several: the name of its file, without .onnx
  std::string form;                     ///< "8 bits", "fp16"
  std::optional<double> relative_loss;  ///< with the form that the recipe says; when it is known
  int64_t bytes = 0;                    ///< that it takes now
  std::optional<int64_t> bytes_before;  ///< with the form that the recipe says; when it is known
};

/// Entered in the metadata.
struct GateReport {
  std::string text_file;  ///< its name
  std::string text_sha256;
  int64_t attempts = 1;  ///< results that were made until the gates held
  std::vector<GateResult> results;
  std::vector<FallbackEntry> fallback;
};

/// "ppl 12.34, at most 11.87 (1.06x of 11.2)".
[[nodiscard]] std::string GateText(const GateResult& result);
[[nodiscard]] nlohmann::ordered_json ToJson(const GateReport& report);

}  // namespace ptq
