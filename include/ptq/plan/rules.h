// Rules: what is asked for single tensors, by name. The first one that matches a tensor is
// followed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/plan/names.h"
#include "ptq/quant/method.h"

namespace ptq {

struct FormParameters;
struct Linear;
struct Plan;
struct Table;

/// What is absent, or empty, is as it would be without the rule.
struct Rule {
  std::string model;    ///< file name, without .onnx, of a model of a directory; empty: all
  std::string pattern;  ///< as of --include, over names of linears, of their nodes, and of tables
  std::string form;     ///< name of a form
  std::optional<int> bits;
  std::optional<int64_t> group_size;  ///< 0: channel
  std::optional<bool> symmetric;
  std::optional<int> accuracy_level;  ///< or kChosenLevel
  std::string method;  ///< a preset: its scaling, grid, rounding and rounds of refinement
  std::string scaling;
  std::string grid;
  std::string rounding;
  std::string where;  ///< where it is written, for messages: "--rule", "'recipe.toml' line 3"

  /// Whether it says what a tensor becomes, and not only how that is found or computed with.
  [[nodiscard]] bool ChoosesForm() const {
    return !form.empty() || bits.has_value() || group_size.has_value() || symmetric.has_value();
  }
  [[nodiscard]] bool ChoosesMethod() const {
    return !method.empty() || !scaling.empty() || !grid.empty() || !rounding.empty();
  }
  /// Takes over bits, group, symmetry and accuracy level.
  void ApplyTo(FormParameters& parameters) const;
  /// The method of the tensors that it matches. Throws UsageError for unknown names.
  [[nodiscard]] Method MethodFrom(Method method) const;
};

/// With the keys of a recipe file; no place.
[[nodiscard]] nlohmann::ordered_json ToJson(const Rule& rule);
/// The number, or "auto" for kChosenLevel.
[[nodiscard]] nlohmann::ordered_json AccuracyLevelJson(int level);

/// What a rule asks of one model, of all that are quantized together (paths below their directory,
/// without .onnx); nothing when it is for others. `encoder_model:PATTERN` is for the model of that
/// name where there is one; else the colon belongs to the pattern. Throws UsageError for a `model`
/// that is none of them.
[[nodiscard]] std::optional<Rule> RuleFor(const Rule& rule, const std::string& model,
                                          std::span<const std::string> models);
/// The same of a list, in order.
[[nodiscard]] std::vector<Rule> RulesFor(std::span<const Rule> rules, const std::string& model,
                                         std::span<const std::string> models);

/// A list of rules with its patterns compiled.
class RuleList {
 public:
  /// `rules` outlives this. Throws UsageError for a malformed pattern.
  explicit RuleList(std::span<const Rule> rules);
  /// The first that matches; null: none.
  [[nodiscard]] const Rule* For(const Linear& linear) const;
  [[nodiscard]] const Rule* For(const Table& table) const;
  /// Throws UsageError for a rule that matches nothing.
  void RequireMatches(const Plan& plan) const;
  /// Whether one of the rules, by its place in the list, matches anything.
  [[nodiscard]] bool Matches(size_t rule, const Plan& plan) const;

 private:
  std::span<const Rule> rules_;
  std::vector<NamePattern> patterns_;
};

/// Says that a rule matches nothing of a model, or of all models of a directory.
[[noreturn]] void RefuseUnmatched(const Rule& rule, const std::string& of);

}  // namespace ptq
