#include "checkpoint.h"

#include <string>

#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

Json ToJson(const LinearOutcome& outcome) {
  return {{"loss_rtn", outcome.loss_rtn},
          {"loss", outcome.loss},
          {"energy", outcome.energy},
          {"scaling", outcome.scaling},
          {"alpha", outcome.alpha},
          {"fold", outcome.fold},
          {"tokens", outcome.tokens},
          {"bytes_before", outcome.bytes_before},
          {"bytes_after", outcome.bytes_after}};
}

LinearOutcome OutcomeFromJson(const Json& json) {
  LinearOutcome outcome;
  json.at("loss_rtn").get_to(outcome.loss_rtn);
  json.at("loss").get_to(outcome.loss);
  json.at("energy").get_to(outcome.energy);
  json.at("scaling").get_to(outcome.scaling);
  json.at("alpha").get_to(outcome.alpha);
  json.at("fold").get_to(outcome.fold);
  json.at("tokens").get_to(outcome.tokens);
  json.at("bytes_before").get_to(outcome.bytes_before);
  json.at("bytes_after").get_to(outcome.bytes_after);
  return outcome;
}

Json ToJson(const Use& use) { return {use.node, use.input}; }
Use UseFromJson(const Json& json) { return {json.at(0).get<int>(), json.at(1).get<int>()}; }

Json ToJson(const ScaledSite& scaled) {
  const Site& site = scaled.site;
  Json gains = Json::array();
  for (const Use& use : site.fold.gains) gains.push_back(ToJson(use));
  return {{"value", site.value},
          {"linears", site.linears},
          {"segment", site.segment},
          {"fold", int(site.fold.kind)},
          {"gains", std::move(gains)},
          {"rows_of", site.fold.linear},
          {"bias", ToJson(site.fold.bias)},
          {"row_of_channel", site.fold.row_of_channel},
          {"scale", scaled.scale}};
}

ScaledSite ScaledFromJson(const Json& json) {
  ScaledSite scaled;
  Site& site = scaled.site;
  json.at("value").get_to(site.value);
  json.at("linears").get_to(site.linears);
  json.at("segment").get_to(site.segment);
  site.fold.kind = Fold::Kind(json.at("fold").get<int>());
  for (const Json& use : json.at("gains")) site.fold.gains.push_back(UseFromJson(use));
  json.at("rows_of").get_to(site.fold.linear);
  site.fold.bias = UseFromJson(json.at("bias"));
  json.at("row_of_channel").get_to(site.fold.row_of_channel);
  json.at("scale").get_to(scaled.scale);
  return scaled;
}

Json ToJson(const CheckpointRecord& record) {
  Json scaled = Json::array(), outcomes = Json::array();
  for (const ScaledSite& site : record.scaled) scaled.push_back(ToJson(site));
  for (const auto& [linear, outcome] : record.outcomes) {
    outcomes.push_back({{"linear", linear}, {"outcome", ToJson(outcome)}});
  }
  return {{"segments", record.segments},
          {"edits", record.edits},
          {"scaled", std::move(scaled)},
          {"outcomes", std::move(outcomes)}};
}

CheckpointRecord RecordFromJson(const Json& json) {
  CheckpointRecord record;
  json.at("segments").get_to(record.segments);
  record.edits = json.at("edits");
  for (const Json& site : json.at("scaled")) record.scaled.push_back(ScaledFromJson(site));
  for (const Json& entry : json.at("outcomes")) {
    record.outcomes.emplace_back(entry.at("linear").get<int>(),
                                 OutcomeFromJson(entry.at("outcome")));
  }
  return record;
}

/// The first member that differs, for a message.
std::string Difference(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now,
                       const std::string& prefix = "") {
  for (const auto& [key, value] : now.items()) {
    std::string name = prefix + key;
    if (!before.contains(key)) return name;
    if (before[key] == value) continue;
    if (value.is_object() && before[key].is_object()) {
      std::string inner = Difference(before[key], value, name + ".");
      if (!inner.empty()) return inner;
    }
    return name;
  }
  return "";
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& staged, const nlohmann::ordered_json& identity,
                       bool resume)
    : directory_(staged / "checkpoint") {
  const auto file = directory_ / "identity.json";
  std::error_code error;
  if (resume && std::filesystem::exists(file, error)) {
    const auto before =
        nlohmann::ordered_json::parse(ReadTextFile(file), nullptr, /*allow_exceptions=*/false);
    if (before != identity) {
      throw UsageError("cannot resume: '" + Difference(before, identity) +
                       "' is not what it was when the run was interrupted; use the same model, "
                       "calibration and options, or run without --resume to start again");
    }
    ReadRecords();
    return;
  }
  std::filesystem::create_directory(directory_, error);
  WriteFileAtomically(file, identity.dump(2) + "\n");
}

std::filesystem::path Checkpoint::StepFile(size_t step, const char* kind) const {
  return directory_ / ("step-" + std::to_string(step) + "." + kind);
}

void Checkpoint::ReadRecords() {
  std::error_code error;
  while (std::filesystem::exists(StepFile(steps_, "cbor"), error)) {
    const std::string bytes = ReadTextFile(StepFile(steps_, "cbor"));
    try {
      records_.push_back(RecordFromJson(Json::from_cbor(bytes)));
    } catch (const Json::exception& malformed) {
      throw InputError("'" + StepFile(steps_, "cbor").string() + "' is malformed (" +
                       malformed.what() + "); run without --resume to start again");
    }
    segments_ = records_.back().segments;
    ++steps_;
  }
}

void Checkpoint::Save(const CheckpointRecord& record, const CutStore* cuts,
                      const Values* expectation) {
  if (cuts != nullptr) cuts->Save(StepFile(steps_, "cut"));
  if (expectation != nullptr) {
    std::map<std::string, Tensor> arrays;
    for (const auto& [id, tensor] : *expectation) arrays[std::to_string(id)] = tensor;
    WriteNpz(StepFile(steps_, "npz"), arrays);
    SyncFile(StepFile(steps_, "npz"));
  }
  const std::vector<uint8_t> bytes = Json::to_cbor(ToJson(record));
  WriteFileAtomically(StepFile(steps_, "cbor"),
                      {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  std::error_code ignored;
  if (steps_ > 0) {
    std::filesystem::remove(StepFile(steps_ - 1, "cut"), ignored);
    std::filesystem::remove(StepFile(steps_ - 1, "npz"), ignored);
  }
  segments_ = record.segments;
  ++steps_;
}

void Checkpoint::LoadCuts(CutStore& cuts) const { cuts.Load(StepFile(steps_ - 1, "cut")); }

Values Checkpoint::LoadExpectation() const {
  Values values;
  for (auto& [id, tensor] : ReadNpz(StepFile(steps_ - 1, "npz"))) {
    values[ValueId(std::stol(id))] = std::move(tensor);
  }
  return values;
}

void Checkpoint::Remove() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

}  // namespace ptq
