// The log of edits that makes a run resumable.
#pragma once

#include <chrono>
#include <future>
#include <optional>
#include <utility>
#include <vector>

#include "checkpoint.h"
#include <nlohmann/json.hpp>

#include "ptq/base/staged_directory.h"
#include "ptq/calibrate/cut_store.h"
#include "ptq/emit/output_model.h"
#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Hands commands on to the output model and notes them down. Notes become steps of a Checkpoint in
/// the staged directory, saved in the background; an interrupted run's steps are given to the
/// output model of the next one again. What of the staged directory outlives the run, and in which
/// state, is decided here.
class Journal {
 public:
  /// All of these outlive it. What takes less than `seconds` is not worth a step: it is done again
  /// as fast as a disk makes it durable. A checkpoint that is there is kept, whatever happens.
  Journal(StagedDirectory& staged, OutputModel& output, const Plan& plan, double seconds);

  /// Finds what an interrupted run has left. Called once, in front of all that follows. Throws
  /// UsageError when that was of another identity (Checkpoint).
  void Open(const nlohmann::ordered_json& identity);
  /// Segments that need not be done again, as of the last step; 0 before Open.
  [[nodiscard]] size_t segments() const { return checkpoint_ ? checkpoint_->segments() : 0; }
  /// Seconds since the last step was saved.
  [[nodiscard]] double Age() const { return checkpoint_->Age(); }
  /// What became of linears, tables and filters, by their indices in the plan.
  struct Outcomes {
    std::vector<std::pair<int, Outcome>> linears;
    std::vector<std::pair<int, Outcome>> tables;
    std::vector<std::pair<int, Outcome>> filters;
  };
  /// Where there are segments: gives the output model their commands again, and the caller what
  /// became of the linears, by index.
  [[nodiscard]] Outcomes Replay();
  /// What the last step was saved with.
  void LoadCuts(CutStore& cuts) const { checkpoint_->LoadCuts(cuts); }
  [[nodiscard]] Values LoadExpectation() const { return checkpoint_->LoadExpectation(); }

  /// The output model's commands of these names.
  void ScaleSite(ScaledSite scaled);
  void AddBias(int linear, std::vector<float> bias);
  /// Returns the bytes written, which the noted outcome has, too.
  int64_t Quantize(int linear, const QuantizedMatrix& q, Outcome outcome);

  /// `outcome` is what `rows` has found when all were asked for, and gets the bytes written.
  void QuantizeTable(int table, const TableRows& rows, Outcome& outcome);
  void QuantizeFilters(int constant, const QuantizedMatrix& q, const Outcome& outcome);

  /// Whether a step can be made now: nothing waits in the output model, and doing again what was
  /// done since the last one takes longer than making it durable.
  [[nodiscard]] bool WorthKeeping() const;
  /// Makes a step of all commands so far, which finish `segments`. With it goes what the next
  /// segment starts from: `cuts` and `expectation`, null where there are none. With `behind` this
  /// returns before the step is durable, if the activations stay as they are until then. Throws
  /// what saving the step before has thrown.
  void Save(size_t segments, const CutStore* cuts, const Values* expectation, bool behind);
  /// Waits until the last step is durable. Throws what saving it has thrown.
  void Finish();
  /// Leaves the steps, if there are any, for another run, when this one cannot go on.
  [[nodiscard]] bool Keep();
  /// Gives the result, which needs the steps no longer, its name.
  void Commit();

 private:
  StagedDirectory& staged_;
  OutputModel& output_;
  const Plan& plan_;
  const double seconds_;
  /// The moment up to which nothing would be lost.
  std::chrono::steady_clock::time_point saved_ = std::chrono::steady_clock::now();
  CheckpointRecord unsaved_;
  std::optional<Checkpoint> checkpoint_;
  std::future<void> saving_;  ///< the last step; after what it uses
};

}  // namespace ptq
