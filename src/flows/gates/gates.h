// Judges a result by its recipe's gates, and finds what gets more bits when one fails.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/evaluate/figures.h"
#include "ptq/plan/gate.h"
#include "ptq/plan/recipe.h"
#include "ptq/plan/rules.h"

namespace ptq {

/// Each gate beside its figure. Throws UsageError for a figure that was not measured.
[[nodiscard]] std::vector<GateResult> CompareGates(const std::vector<Gate>& gates,
                                                   const std::vector<Figure>& figures);

/// What gates have failed, in words: "a quality gate failed: kl 0.5, at most 0.1".
[[nodiscard]] std::string FailureText(const std::vector<GateResult>& results);

/// How much of the loss may stay for all gates to hold, 0 to 1, if a figure's distance from that of
/// the source grows as the loss does.
[[nodiscard]] double PartThatMayStay(const std::vector<GateResult>& results);

/// Rules for the tensors of a failed result: those of `recipe.fallback`, and more. Tensors whose
/// loss is largest for the bytes that more bits take get 8 of them until `part` of the loss is
/// left, when all have them FP16; at least an eighth of the tensors at a time. Empty: all are FP16
/// already. What the recipe's rules say of a tensor stays, but for its bits and form.
[[nodiscard]] std::vector<Rule> WidenFallback(const nlohmann::ordered_json& metadata,
                                              const Recipe& recipe, double part);

/// What the tensors of `fallback` take in a result; `first` is the metadata of the result without
/// fallback, or null.
[[nodiscard]] std::vector<FallbackEntry> DescribeFallback(const std::vector<Rule>& fallback,
                                                          const nlohmann::ordered_json& metadata,
                                                          const nlohmann::ordered_json& first);

}  // namespace ptq
