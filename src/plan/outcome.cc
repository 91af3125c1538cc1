// Turns outcomes into records and into what people read.
#include "ptq/plan/outcome.h"

#include <cmath>
#include <string_view>
#include <type_traits>

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Json Shown(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Shown(const std::optional<double>& value) { return value ? Shown(*value) : Json(nullptr); }
template <class T>
Json Shown(const T& value) {
  return value;
}

}  // namespace

void Outcome::SetLevels(const ActivationLevels& levels) {
  activation_scale = levels.scale;
  activation_zero_point = levels.zero_point;
  activation_bits = levels.bits;
}

std::optional<ActivationLevels> Outcome::Levels() const {
  if (!activation_scale.has_value()) return std::nullopt;
  return ActivationLevels{float(*activation_scale), int(activation_zero_point),
                          int(activation_bits)};
}

std::optional<double> Outcome::Relative(double loss) const {
  if (!(energy > 0)) return std::nullopt;
  return loss / energy + 0.0;  // a negative zero would look like an error in a file
}

void to_json(nlohmann::json& json, const Outcome& outcome) {
  json = nlohmann::json::object();
  ForEachField([&](const char* name, auto field, FieldUse) {
    const auto& value = outcome.*field;
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::optional<double>>) {
      if (value.has_value()) json[name] = *value;
    } else {
      json[name] = value;
    }
  });
}

void from_json(const nlohmann::json& json, Outcome& outcome) {
  ForEachField([&](const char* name, auto field, FieldUse) {
    auto& value = outcome.*field;
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::optional<double>>) {
      if (json.contains(name)) value = json.at(name).get<double>();
    } else {
      json.at(name).get_to(value);
    }
  });
}

Json ShownFields(const Outcome& outcome) {
  Json json = Json::object();
  ForEachField([&](const char* name, auto field, FieldUse use) {
    if (use != FieldUse::kShown) return;
    json[name] = Shown(outcome.*field);
    if (std::string_view(name) == "loss_after") {
      json["relative_loss"] = Shown(outcome.RelativeLoss());
    }
  });
  return json;
}

}  // namespace ptq
