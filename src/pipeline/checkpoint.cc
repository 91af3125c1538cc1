#include "checkpoint.h"

#include <string>

#include "json_records.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/tensor/npz.h"

namespace ptq {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CheckpointRecord, segments, edits, scaled, outcomes, biases)

namespace {

using Json = nlohmann::json;

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
    : directory_(staged / "checkpoint"), identity_(identity.dump(2) + "\n") {
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
}

std::filesystem::path Checkpoint::StepFile(size_t step, const char* kind) const {
  return directory_ / ("step-" + std::to_string(step) + "." + kind);
}

void Checkpoint::ReadRecords() {
  std::error_code error;
  while (std::filesystem::exists(StepFile(steps_, "cbor"), error)) {
    const std::string bytes = ReadTextFile(StepFile(steps_, "cbor"));
    try {
      records_.push_back(Json::from_cbor(bytes).get<CheckpointRecord>());
    } catch (const Json::exception& malformed) {
      throw InputError("'" + StepFile(steps_, "cbor").string() + "' is malformed (" +
                       malformed.what() + "); run without --resume to start again");
    }
    segments_ = records_.back().segments;
    ++steps_;
  }
}

void Checkpoint::Save(const CheckpointRecord& record, const std::optional<CutStore::Image>& cuts,
                      const std::optional<Values>& expectation) {
  std::error_code ignored;
  if (steps_ == 0) {  // many a run ends before it needs one
    std::filesystem::create_directory(directory_, ignored);
    WriteFileAtomically(directory_ / "identity.json", identity_);
  }
  if (cuts.has_value()) cuts->Save(StepFile(steps_, "cut"));
  if (expectation.has_value()) {
    std::map<std::string, Tensor> arrays;
    for (const auto& [id, tensor] : *expectation) arrays[std::to_string(id)] = tensor;
    WriteNpz(StepFile(steps_, "npz"), arrays);
    SyncFile(StepFile(steps_, "npz"));
  }
  const std::vector<uint8_t> bytes = Json::to_cbor(Json(record));
  WriteFileAtomically(StepFile(steps_, "cbor"),
                      {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
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
