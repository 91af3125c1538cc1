// Sorts linears by what people ask for.
#include "ptq/report/linear_order.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <string_view>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/json.h"
#include "ptq/tensor/shape.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// The digits that `text` begins with, without zeros in front.
std::string_view TakeNumber(std::string_view& text) {
  size_t end = 0;
  while (end < text.size() && IsDigit(text[end])) ++end;
  std::string_view number = text.substr(0, end);
  text.remove_prefix(end);
  while (number.size() > 1 && number.front() == '0') number.remove_prefix(1);
  return number;
}

/// Whether "layers.2" comes before "layers.10".
bool NameLess(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    if (IsDigit(a[0]) && IsDigit(b[0])) {
      const std::string_view x = TakeNumber(a), y = TakeNumber(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a[0] != b[0]) return a[0] < b[0];
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.empty() && !b.empty();
}

/// What comes first is largest; nothing for what comes last.
std::optional<double> Weight(const LinearFacts& linear, LinearKey key) {
  switch (key) {
    case LinearKey::kShape: return double(linear.weights);
    case LinearKey::kSize: return double(linear.bytes);
    case LinearKey::kError: return linear.error;
    case LinearKey::kGain:
      if (!linear.error.has_value() || !linear.error_rtn.has_value()) return std::nullopt;
      return *linear.error_rtn - *linear.error;
    default: return std::nullopt;
  }
}

LinearFacts FactsOf(const Json& linear) {
  LinearFacts facts{linear.at("name").get<std::string>(),
                    NumElements(Shape{CountIn(linear, "n"), CountIn(linear, "k")}),
                    CountIn(linear, "bytes_after"), std::nullopt, std::nullopt};
  const Json& quantized = linear.at("quantized");
  if (quantized.is_null() || quantized.at("relative_loss").is_null()) return facts;
  facts.error = quantized.at("relative_loss").get<double>();
  const Json &before = quantized.at("loss_before"), &after = quantized.at("loss_after");
  if (before.is_null() || after.is_null()) return facts;
  const bool exact = after.get<double>() > 0;
  facts.error_rtn = exact ? *facts.error * before.get<double>() / after.get<double>() : 0.0;
  return facts;
}

}  // namespace

std::vector<size_t> Arranged(std::span<const LinearFacts> linears, const LinearOrder& order) {
  std::vector<size_t> indices(linears.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  const bool by_error = order.key == LinearKey::kError || order.key == LinearKey::kGain;
  const bool measured = std::ranges::any_of(
      linears, [](const LinearFacts& linear) { return linear.error.has_value(); });
  if (by_error && !measured && !linears.empty()) {
    throw UsageError(
        "--sort: no errors are known of this model; they are of results, as run writes them");
  }
  if (order.key == LinearKey::kName) {
    std::ranges::stable_sort(
        indices, [&](size_t i, size_t j) { return NameLess(linears[i].name, linears[j].name); });
  } else if (order.key != LinearKey::kFile) {
    std::ranges::stable_sort(indices, [&](size_t i, size_t j) {
      return Weight(linears[i], order.key) > Weight(linears[j], order.key);
    });
  }
  if (order.top > 0 && size_t(order.top) < indices.size()) indices.resize(size_t(order.top));
  return indices;
}

Json ArrangedMetadata(Json metadata, const LinearOrder& order) {
  if (metadata.contains("models") && metadata["models"].is_array()) {
    for (Json& model : metadata["models"]) model = ArrangedMetadata(std::move(model), order);
    return metadata;
  }
  if (!metadata.contains("linears")) return metadata;
  try {
    std::vector<LinearFacts> facts;
    for (const Json& linear : metadata["linears"]) facts.push_back(FactsOf(linear));
    Json arranged = Json::array();
    for (const size_t i : Arranged(facts, order)) arranged.push_back(metadata["linears"][i]);
    metadata["linears"] = std::move(arranged);
    return metadata;
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("not the metadata of a quantized model: ") + JsonReason(error));
  }
}

}  // namespace ptq
