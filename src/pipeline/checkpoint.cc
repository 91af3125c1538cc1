// Writes numbered steps into the staged directory, and takes them over for the same run only.
#include "checkpoint.h"

#include <chrono>
#include <string>

#include "differences.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/folders.h"
#include "ptq/base/json.h"
#include "ptq/search/segment_record.h"
#include "ptq/tensor/npz.h"

namespace ptq {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CheckpointRecord, segments, edits, scaled, outcomes, tables,
                                   filters, biases)

namespace {

using PlainJson = nlohmann::json;

constexpr char kFolder[] = "checkpoint";
constexpr char kIdentity[] = "identity.json";

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& staged, const nlohmann::ordered_json& identity)
    : directory_(staged / kFolder), identity_(DumpJson(identity, 2) + "\n") {
  if (!IsIn(staged)) return;
  ReadRecords();
  CheckIdentity(directory_ / kIdentity, identity,
                "the interrupted run in '" + staged.string() + "', which has finished " +
                    std::to_string(segments_) + " segments");
}

bool Checkpoint::IsIn(const std::filesystem::path& staged) {
  std::error_code error;
  return std::filesystem::exists(staged / kFolder / kIdentity, error) &&
         std::filesystem::exists(staged / kFolder / "step-0.cbor", error);
}

double Checkpoint::Age() const {
  std::error_code error;
  const auto written = std::filesystem::last_write_time(StepFile(steps_ - 1, "cbor"), error);
  if (steps_ == 0 || error) return 0;
  return std::chrono::duration<double>(std::filesystem::file_time_type::clock::now() - written)
      .count();
}

std::filesystem::path Checkpoint::StepFile(size_t step, const char* kind) const {
  return directory_ / ("step-" + std::to_string(step) + "." + kind);
}

void Checkpoint::ReadRecords() {
  std::error_code error;
  while (std::filesystem::exists(StepFile(steps_, "cbor"), error)) {
    const std::string bytes = ReadTextFile(StepFile(steps_, "cbor"));
    try {
      records_.push_back(PlainJson::from_cbor(bytes).get<CheckpointRecord>());
    } catch (const PlainJson::exception& malformed) {
      throw InputError("'" + StepFile(steps_, "cbor").string() + "' is malformed (" +
                       JsonReason(malformed) + "); start again with --restart");
    }
    segments_ = records_.back().segments;
    ++steps_;
  }
}

void Checkpoint::Save(const CheckpointRecord& record, const std::optional<CutStore::Image>& cuts,
                      const std::optional<Values>& expectation) {
  std::error_code ignored;
  if (steps_ == 0) {  // many a run ends before it needs one
    MakeFolders(directory_);
    SyncDirectory(directory_.parent_path());
    SyncDirectory(directory_.parent_path().parent_path());
    WriteFileAtomically(directory_ / kIdentity, identity_);
  }
  try {
    if (cuts.has_value()) cuts->Save(StepFile(steps_, "cut"));
    if (expectation.has_value()) {
      std::map<std::string, Tensor> arrays;
      for (const auto& [id, tensor] : *expectation) arrays[std::to_string(id)] = tensor;
      WriteNpz(StepFile(steps_, "npz"), arrays);
      SyncFile(StepFile(steps_, "npz"));
    }
    const std::vector<uint8_t> bytes = PlainJson::to_cbor(PlainJson(record));
    WriteFileAtomically(StepFile(steps_, "cbor"),
                        {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } catch (...) {  // room for the others, when the disk is full
    std::filesystem::remove(StepFile(steps_, "cut"), ignored);
    std::filesystem::remove(StepFile(steps_, "npz"), ignored);
    throw;
  }
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
  RemoveAll(directory_ / kIdentity);  // first: what is left then is nothing
  RemoveAll(directory_);
}

}  // namespace ptq
