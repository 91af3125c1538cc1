// Many models quantized one after the other or side by side, each by a process of its own, so that
// none can take others with it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

/// One model and what is done to it.
struct BatchJob {
  std::string id;  ///< of the result: its directory in that of the batch
  std::filesystem::path source;
  std::string base;                ///< what the source is called
  std::string recipe;              ///< what its recipe is called; may be empty
  std::vector<std::string> words;  ///< of run's command line, but for source and destination
  int64_t bytes = 0;               ///< of the source
};

/// The part of the jobs that one process takes: those whose place is `index` modulo `count`.
struct Shard {
  int64_t index = 0;
  int64_t count = 1;
  std::string from;  ///< where it was found: "SLURM_ARRAY_TASK_ID"; empty: it was asked for
};

struct BatchRequest {
  std::vector<BatchJob> jobs;
  std::filesystem::path directory;  ///< of the results
  Shard shard;
  int at_once = 1;            ///< jobs that run side by side
  int threads = 0;            ///< of all of them together; 0: all processors
  int64_t memory_budget = 0;  ///< bytes of all of them together; 0: what is useful
  bool force = false;         ///< results that are up to date are made again
  bool dry_run = false;       ///< nothing is started
};

enum class JobState { kPlanned, kDone, kUpToDate, kFailed };
/// "planned", "done", "up to date", "failed".
[[nodiscard]] std::string JobStateName(JobState state);

struct JobResult {
  BatchJob job;
  JobState state = JobState::kPlanned;
  int status = 0;             ///< exit status of its process
  std::string message;        ///< why it failed
  std::filesystem::path log;  ///< of a job that failed: what it said
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  int64_t peak_bytes = 0;  ///< resident
  double seconds = 0;
};

struct BatchReport {
  std::filesystem::path directory;
  Shard shard;
  size_t jobs_of_all = 0;          ///< in all shards
  std::vector<JobResult> results;  ///< of this shard, in the order of the jobs
  double seconds = 0;

  [[nodiscard]] int64_t Count(JobState state) const;
};

/// The jobs of a shard, largest first dealt round, so that shards take about the same time. In the
/// order given.
[[nodiscard]] std::vector<BatchJob> JobsOf(const Shard& shard, const std::vector<BatchJob>& jobs);

/// Runs the jobs of the shard. What fails is noted, and the others go on; what is up to date stays
/// as it is. A job that has not enough of a shared budget is done once more alone. Every result is
/// entered in the directory's registry (registry.h). Throws UsageError for two jobs of one id,
/// Interrupted (the jobs at work keep checkpoints), OutputError when the directory cannot be
/// written.
[[nodiscard]] BatchReport RunBatch(const BatchRequest& request);

}  // namespace ptq
