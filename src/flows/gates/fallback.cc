// Orders the tensors of a result by what they lose for their bytes, and writes rules for them.
#include <algorithm>
#include <cmath>
#include <map>

#include "gates.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMoreBits = 8;
constexpr char kHalfFormName[] = "fp16";
constexpr char kFallbackPlace[] = "a gate's fallback";
/// What a tensor whose loss is not known counts as, of its energy.
constexpr double kUnknownLoss = 0.01;
/// Least part of the tensors that fall back at a time: else there might be as many attempts as
/// tensors.
constexpr int64_t kLeastShare = 8;

/// A tensor that has codes.
struct Coded {
  std::string model;
  std::string name;
  std::string form;
  int bits = 0;
  double loss = 0;  ///< of its energy
  double weights = 0;
  int64_t bytes = 0;
  bool is_known = false;  ///< its loss

  [[nodiscard]] bool takes_more_bits() const {
    return bits < kMoreBits && form != "nf4" && form != "fp4";
  }
  /// Loss that goes for each byte that comes.
  [[nodiscard]] double Gain(int more) const { return loss / (weights * (more - bits) / 8); }
};

void AddCoded(const Json& list, const std::string& model, std::vector<Coded>& found) {
  for (const Json& entry : list) {
    if (!entry.contains("quantized") || !entry.at("quantized").is_object()) continue;
    const Json& quantized = entry.at("quantized");
    if (!quantized.contains("bits") || !quantized.at("bits").is_number()) continue;
    Coded tensor;
    tensor.model = model;
    tensor.name = entry.at("name").get<std::string>();
    tensor.form = quantized.value("form", "");
    tensor.bits = quantized.at("bits").get<int>();
    tensor.weights = entry.at("n").get<double>() * entry.at("k").get<double>();
    tensor.bytes = entry.at("bytes_after").get<int64_t>();
    const auto loss = quantized.find("relative_loss");
    tensor.is_known = loss != quantized.end() && loss->is_number();
    tensor.loss = tensor.is_known ? loss->get<double>() : kUnknownLoss;
    found.push_back(std::move(tensor));
  }
}

/// The models of a result: one, or those of a directory with their names.
std::vector<std::pair<std::string, const Json*>> ModelsIn(const Json& metadata) {
  if (!metadata.contains("models")) return {{"", &metadata}};
  std::vector<std::pair<std::string, const Json*>> models;
  for (const Json& part : metadata.at("models")) {
    if (!part.contains("source")) continue;  // copied as it is
    const auto file = part.at("source").at("file").get<std::string>();
    models.emplace_back(file.substr(0, file.rfind(".onnx")), &part);
  }
  return models;
}

std::vector<Coded> CodedIn(const Json& metadata) {
  std::vector<Coded> found;
  for (const auto& [model, part] : ModelsIn(metadata)) {
    for (const char* kind : {"linears", "tables"}) {
      if (part->contains(kind)) AddCoded(part->at(kind), model, found);
    }
  }
  return found;
}

/// A pattern of exactly this name.
std::string PatternOf(const std::string& name) {
  const bool plain = name.find_first_of("*?[]{}\\:") == std::string::npos &&
                     !(name.starts_with('/') && name.ends_with('/'));
  if (plain) return name;
  std::string pattern = "/^";
  for (const char c : name) {
    const bool word = (std::isalnum(static_cast<unsigned char>(c)) != 0) || c == '_' || c == '/' ||
                      (static_cast<unsigned char>(c) >= 0x80);
    pattern += word ? std::string(1, c) : std::string("\\") + c;
  }
  return pattern + "$/";
}

/// What the user's rules say of it; an empty rule where none does.
Rule AskedFor(const Coded& tensor, const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    const bool is_other = !rule.model.empty() && rule.model != tensor.model;
    if (!is_other && NamePattern(rule.pattern).Matches(tensor.name)) return rule;
  }
  return {};
}

Rule RuleOf(const Coded& tensor, int bits, const std::vector<Rule>& rules) {
  Rule rule = bits == kMoreBits ? AskedFor(tensor, rules) : Rule();
  rule.model = tensor.model;
  rule.pattern = PatternOf(tensor.name);
  rule.where = kFallbackPlace;
  if (bits == kMoreBits) {
    rule.bits = bits;
  } else {
    rule.form = kHalfFormName;
  }
  return rule;
}

bool IsFor(const Rule& rule, const std::string& model, const std::string& name) {
  return rule.model == model && rule.pattern == PatternOf(name);
}

}  // namespace

std::vector<Rule> WidenFallback(const Json& metadata, const Recipe& recipe, double part) {
  const std::vector<Coded> all = CodedIn(metadata);
  std::vector<Coded> candidates;
  std::ranges::copy_if(all, std::back_inserter(candidates), &Coded::takes_more_bits);
  const int bits = candidates.empty() ? 16 : kMoreBits;
  if (candidates.empty()) candidates = all;
  if (candidates.empty()) return {};
  double left = 0;
  for (const Coded& tensor : all) left += tensor.loss;
  const double target = part * left;
  std::ranges::stable_sort(candidates, std::greater<>(),
                           [&](const Coded& tensor) { return tensor.Gain(bits); });
  const int64_t least = (std::ssize(candidates) + kLeastShare - 1) / kLeastShare;
  std::vector<Rule> rules;
  for (const Coded& tensor : candidates) {
    if (left <= target && std::ssize(rules) >= least) break;
    // A bit more is half the error, a fourth of the loss.
    left -= tensor.loss * (1 - std::exp2(2.0 * (tensor.bits - bits)));
    rules.push_back(RuleOf(tensor, bits, recipe.rules));
  }
  for (const Rule& earlier : recipe.fallback) {
    const bool replaced = std::ranges::any_of(rules, [&](const Rule& rule) {
      return rule.model == earlier.model && rule.pattern == earlier.pattern;
    });
    if (!replaced) rules.push_back(earlier);
  }
  return rules;
}

std::vector<FallbackEntry> DescribeFallback(const std::vector<Rule>& fallback, const Json& metadata,
                                            const Json& first) {
  std::vector<FallbackEntry> entries;
  if (fallback.empty()) return entries;
  const std::vector<Coded> before = first.is_null() ? std::vector<Coded>() : CodedIn(first);
  for (const auto& [model, part] : ModelsIn(metadata)) {
    for (const char* kind : {"linears", "tables"}) {
      if (!part->contains(kind)) continue;
      for (const Json& tensor : part->at(kind)) {
        const auto name = tensor.at("name").get<std::string>();
        const auto rule = std::ranges::find_if(
            fallback, [&, &of = model](const Rule& each) { return IsFor(each, of, name); });
        if (rule == fallback.end()) continue;
        FallbackEntry entry{name, model, rule->form.empty() ? "8 bits" : rule->form, {}, 0, {}};
        entry.bytes = tensor.at("bytes_after").get<int64_t>();
        const auto was = std::ranges::find_if(before, [&, &of = model](const Coded& each) {
          return each.model == of && each.name == name;
        });
        if (was != before.end()) {
          entry.bytes_before = was->bytes;
          if (was->is_known) entry.relative_loss = was->loss;
        }
        entries.push_back(std::move(entry));
      }
    }
  }
  return entries;
}

}  // namespace ptq
