// Writes results of points as JSON, and reads them again.
#include "sweep_notes.h"

#include <cmath>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNotesFile[] = "sweep.json";
constexpr char kNotesVersion[] = "1.0";

std::optional<double> Known(const Json& value) {
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

Json FigureNote(const Figure& figure) {
  return {{"name", figure.name},
          {"key", figure.key},
          {"value", NumberOrNull(figure.value)},
          {"higher_is_better", figure.better == Better::kHigher},
          {"unit", figure.unit},
          {"of_one_model", figure.of_one_model},
          {"reference", NumberOrNull(figure.reference)}};
}

Figure NotedFigure(const Json& note) {
  Figure figure;
  figure.name = note.at("name").get<std::string>();
  figure.key = note.at("key").get<std::string>();
  figure.value = Known(note.at("value"));
  figure.better = note.at("higher_is_better").get<bool>() ? Better::kHigher : Better::kLower;
  figure.unit = note.at("unit").get<std::string>();
  figure.of_one_model = note.at("of_one_model").get<bool>();
  figure.reference = Known(note.at("reference"));
  return figure;
}

Json ResultNote(const SweepResult& result) {
  Json settings = Json::object(), figures = Json::array();
  for (const auto& [key, value] : result.settings) settings[key] = value;
  for (const Figure& figure : result.figures) figures.push_back(FigureNote(figure));
  return {{"settings", std::move(settings)}, {"error", result.error},
          {"bytes", result.bytes},           {"relative_loss", NumberOrNull(result.relative_loss)},
          {"figures", std::move(figures)},   {"seconds", result.seconds}};
}

SweepResult NotedResult(const std::string& id, const Json& note) {
  SweepResult result;
  result.id = id;
  for (const auto& [key, value] : note.at("settings").items()) {
    result.settings.emplace_back(key, value.get<std::string>());
  }
  result.error = note.at("error").get<std::string>();
  result.bytes = note.at("bytes").get<int64_t>();
  result.relative_loss = Known(note.at("relative_loss")).value_or(NAN);
  for (const Json& figure : note.at("figures")) result.figures.push_back(NotedFigure(figure));
  result.seconds = note.at("seconds").get<double>();
  result.earlier = true;
  return result;
}

}  // namespace

SweepNotes::SweepNotes(const std::filesystem::path& directory) : file_(directory / kNotesFile) {
  std::error_code error;
  if (!std::filesystem::exists(file_, error)) {
    notes_ = {{"schema_version", kNotesVersion}, {"points", Json::object()}};
    return;
  }
  notes_ = ParseJson<Json>(ReadTextFile(file_));
  if (notes_.is_object() && notes_.contains("points") && notes_["points"].is_object()) return;
  throw InputError("'" + file_.string() + "' is not what a sweep has noted; move it away");
}

std::optional<SweepResult> SweepNotes::Find(const std::string& id, const Json& key) const {
  const auto note = notes_.at("points").find(id);
  if (note == notes_.at("points").end() || !note->is_object()) return std::nullopt;
  try {
    if (note->at("key") != key) return std::nullopt;
    return NotedResult(id, note->at("result"));
  } catch (const Json::exception&) {
    return std::nullopt;  // of another version
  }
}

void SweepNotes::Enter(const SweepResult& result, const Json& key) {
  notes_["points"][result.id] = {{"key", key}, {"result", ResultNote(result)}};
  WriteFileAtomically(file_, DumpJson(notes_, 2) + "\n");
}

}  // namespace ptq
