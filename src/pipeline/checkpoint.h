// What finished segments leave behind, so that an interrupted run can go on after them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/calibrate/cut_store.h"
#include "ptq/plan/outcome.h"
#include "ptq/search/segment_result.h"

namespace ptq {

/// One step of a run: all that has happened since the step before.
// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct CheckpointRecord {
  size_t segments = 0;   ///< finished when it was written
  nlohmann::json edits;  ///< of the output model
  std::vector<ScaledSite> scaled;
  std::vector<std::pair<int, Outcome>> outcomes;           ///< by index into Plan::linears
  std::vector<std::pair<int, Outcome>> tables;             ///< by index into Plan::tables
  std::vector<std::pair<int, Outcome>> filters;            ///< by index into Plan::constants
  std::vector<std::pair<int, std::vector<float>>> biases;  ///< of linears; what was added
};

/// Files below `checkpoint/` of a staged directory: identity.json (what is quantized, and how),
/// one step-<n>.cbor for each record, and the activations on the cut behind the last one. A record
/// counts from the moment it has its name; what it needs is durable by then.
class Checkpoint {
 public:
  /// Takes over what is there (perhaps nothing). `identity`: an object that is the same for the
  /// same model, recipe and samples. Throws UsageError naming what has changed since.
  Checkpoint(const std::filesystem::path& staged, const nlohmann::ordered_json& identity);

  /// Whether a staged directory holds what a run can go on with.
  [[nodiscard]] static bool IsIn(const std::filesystem::path& staged);

  /// The records of the run that is resumed, in order.
  [[nodiscard]] const std::vector<CheckpointRecord>& records() const { return records_; }
  /// Segments that need not be done again, as of the last record.
  [[nodiscard]] size_t segments() const { return segments_; }
  /// Seconds since the last record was saved, by another process perhaps; 0 when there is none.
  [[nodiscard]] double Age() const;

  /// Adds a record. `cuts` and `expectation`, if any, are what the next segment starts from. May
  /// run on a thread of its own while nothing else is called.
  void Save(const CheckpointRecord& record, const std::optional<CutStore::Image>& cuts,
            const std::optional<Values>& expectation);
  /// What the last record was saved with.
  void LoadCuts(CutStore& cuts) const;
  [[nodiscard]] Values LoadExpectation() const;

  /// Removes the files: the result needs them no longer.
  void Remove();

 private:
  [[nodiscard]] std::filesystem::path StepFile(size_t step, const char* kind) const;
  void ReadRecords();
  std::filesystem::path directory_;
  std::string identity_;
  std::vector<CheckpointRecord> records_;
  size_t steps_ = 0;
  size_t segments_ = 0;
};

}  // namespace ptq
