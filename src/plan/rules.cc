// Finds the rule for a tensor, the model that a rule is for, and what a rule changes.
#include "ptq/plan/rules.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/form.h"

namespace ptq {
namespace {

/// Whether `name` is the model, or the end of its path: encoder_model of onnx/encoder_model.
bool IsModel(std::string name, const std::string& model) {
  constexpr std::string_view kEnding = ".onnx";
  if (name.ends_with(kEnding)) name.resize(name.size() - kEnding.size());
  return !name.empty() && (model == name || model.ends_with("/" + name));
}

bool IsOneOf(const std::string& name, std::span<const std::string> models) {
  return std::ranges::any_of(models, [&](const auto& model) { return IsModel(name, model); });
}

}  // namespace

void Rule::ApplyTo(FormParameters& parameters) const {
  parameters.spec.bits = bits.value_or(parameters.spec.bits);
  parameters.spec.group_size = group_size.value_or(parameters.spec.group_size);
  parameters.spec.symmetric = symmetric.value_or(parameters.spec.symmetric);
  parameters.accuracy_level = accuracy_level.value_or(parameters.accuracy_level);
}

Method Rule::MethodFrom(Method result) const {
  if (!method.empty()) {
    const Method preset = MethodFromPreset(method);
    result.scaling = preset.scaling;
    result.grid = preset.grid;
    result.rounding = preset.rounding;
    result.refine = preset.refine;
  }
  if (!scaling.empty()) result.scaling = scaling;
  if (!grid.empty()) result.grid = grid;
  if (!rounding.empty()) result.rounding = rounding;
  return result;
}

nlohmann::ordered_json AccuracyLevelJson(int level) {
  if (level == kChosenLevel) return "auto";
  return level;
}

nlohmann::ordered_json ToJson(const Rule& rule) {
  nlohmann::ordered_json json;
  const auto add = [&](const char* key, const auto& value) {
    if (value.has_value()) json[key] = *value;
  };
  const auto add_text = [&](const char* key, const std::string& value) {
    if (!value.empty()) json[key] = value;
  };
  add_text("model", rule.model);
  json["pattern"] = rule.pattern;
  add_text("form", rule.form);
  add("bits", rule.bits);
  if (rule.group_size == 0) {
    json["group"] = "channel";
  } else {
    add("group", rule.group_size);
  }
  add("symmetric", rule.symmetric);
  if (rule.accuracy_level) json["accuracy"] = AccuracyLevelJson(*rule.accuracy_level);
  add_text("method", rule.method);
  add_text("scaling", rule.scaling);
  add_text("grid", rule.grid);
  add_text("rounding", rule.rounding);
  return json;
}

std::optional<Rule> RuleFor(const Rule& rule, const std::string& model,
                            std::span<const std::string> models) {
  Rule own = rule;
  if (own.model.empty()) {
    const size_t colon = own.pattern.find(':');
    const std::string front = own.pattern.substr(0, colon);
    if (colon == std::string::npos || !IsOneOf(front, models)) return own;
    own.model = front;
    own.pattern.erase(0, colon + 1);
  } else if (!IsOneOf(own.model, models)) {
    std::string known;
    for (const std::string& name : models) known += (known.empty() ? "" : ", ") + name;
    throw UsageError(rule.where + ": the rule '" + rule.pattern + "' is for a model '" + own.model +
                     "', and there is " + known);
  }
  if (!IsModel(own.model, model)) return std::nullopt;
  return own;
}

std::vector<Rule> RulesFor(std::span<const Rule> rules, const std::string& model,
                           std::span<const std::string> models) {
  std::vector<Rule> own;
  for (const Rule& rule : rules) {
    if (auto one = RuleFor(rule, model, models)) own.push_back(std::move(*one));
  }
  return own;
}

RuleList::RuleList(std::span<const Rule> rules) : rules_(rules) {
  for (const Rule& rule : rules) patterns_.emplace_back(rule.pattern);
}

const Rule* RuleList::For(const Linear& linear) const {
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (ptq::Matches(patterns_[i], linear)) return &rules_[i];
  }
  return nullptr;
}

const Rule* RuleList::For(const Table& table) const {
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (patterns_[i].Matches(table.name)) return &rules_[i];
  }
  return nullptr;
}

bool RuleList::Matches(size_t rule, const Plan& plan) const {
  const NamePattern& pattern = patterns_[rule];
  return std::ranges::any_of(plan.linears,
                             [&](const Linear& linear) { return ptq::Matches(pattern, linear); }) ||
         std::ranges::any_of(plan.tables,
                             [&](const Table& table) { return pattern.Matches(table.name); }) ||
         std::ranges::any_of(plan.constants, [&](const Constant& constant) {
           return ptq::Matches(pattern, constant);
         });
}

void RuleList::RequireMatches(const Plan& plan) const {
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (!Matches(i, plan)) RefuseUnmatched(rules_[i], "");
  }
}

void RefuseUnmatched(const Rule& rule, const std::string& of) {
  throw UsageError(
      (rule.where.empty() ? "rule" : rule.where) + ": '" + rule.pattern +
      "' matches no linear, table or convolution" + of +
      "; quantize run --dry-run lists their names, and names of ONNX nodes match, too");
}

}  // namespace ptq
