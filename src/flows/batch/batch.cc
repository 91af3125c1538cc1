// Starts a process for each job, takes what it prints, and keeps the registry.
#include "ptq/flows/batch.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <numeric>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/child_process.h"
#include "ptq/base/error.h"
#include "ptq/base/folders.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/base/progress.h"
#include "ptq/flows/registry.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr char kLogs[] = "logs";
/// Between two looks at the processes.
constexpr std::chrono::milliseconds kPause{20};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t Whole(const Json& json, const char* key) {
  return json.contains(key) && json.at(key).is_number() ? json.at(key).get<int64_t>() : 0;
}

/// What a process says with a signal's number.
std::string KilledText(int status) {
  return "its process was ended by signal " + std::to_string(status - 128) +
         (status == 128 + 9 ? " (out of memory, or by somebody)" : "");
}

/// A job at work.
struct Running {
  size_t result;  ///< its place in the report
  std::unique_ptr<ChildProcess> process;
  Clock::time_point start;
};

class Batch {
 public:
  Batch(const BatchRequest& request, BatchReport& report) : request_(request), report_(report) {}

  void Run() {
    MakeFolders(request_.directory / kLogs);
    std::deque<size_t> waiting(report_.results.size());
    std::iota(waiting.begin(), waiting.end(), size_t(0));
    Progress progress("batch", int64_t(waiting.size()));
    try {
      Work(waiting, request_.at_once, progress);
      // What had too little beside others gets all of it.
      Work(alone_, 1, progress);
    } catch (const Interrupted&) {
      Stop();
      throw Interrupted("interrupted after " + std::to_string(finished_) + " of " +
                        std::to_string(report_.results.size()) +
                        " jobs; the same command goes on from there");
    }
    std::error_code error;
    fs::remove(request_.directory / kLogs, error);  // if it is empty
  }

 private:
  void Work(std::deque<size_t>& waiting, int at_once, Progress& progress) {
    while (!waiting.empty() || !running_.empty()) {
      CheckInterrupt();
      while (!waiting.empty() && std::ssize(running_) < at_once) {
        const size_t next = waiting.front();
        waiting.pop_front();
        Start(next, at_once);
      }
      std::this_thread::sleep_for(kPause);
      for (size_t i = 0; i < running_.size();) {
        if (!running_[i].process->Poll()) {
          ++i;
          continue;
        }
        const Running ended = std::move(running_[i]);
        running_.erase(running_.begin() + std::ptrdiff_t(i));
        if (Finish(ended, at_once)) progress.Advance();
      }
    }
  }

  [[nodiscard]] fs::path LogOf(const BatchJob& job) const {
    return request_.directory / kLogs / (job.id + ".log");
  }

  void Start(size_t index, int at_once) {
    const BatchJob& job = report_.results[index].job;
    Progress::ShowDetail(job.id);
    std::vector<std::string> words = {OwnProgram().string(), "run"};
    words.insert(words.end(), job.words.begin(), job.words.end());
    words.push_back("--src=" + job.source.string());
    words.push_back("--dst=" + (request_.directory / job.id).string());
    words.insert(words.end(), {"--json", "--progress=none"});
    const int threads =
        request_.threads > 0 ? request_.threads : int(std::thread::hardware_concurrency());
    words.push_back("--threads=" + std::to_string(std::max(1, threads / at_once)));
    if (request_.memory_budget > 0) {
      words.push_back("--memory-budget=" + std::to_string(request_.memory_budget / at_once));
    }
    if (request_.force) words.emplace_back("--force");
    running_.push_back({index, std::make_unique<ChildProcess>(words, LogOf(job)), Clock::now()});
  }

  /// Whether the job is done with, one way or the other.
  bool Finish(const Running& ended, int at_once) {
    JobResult& result = report_.results[ended.result];
    const int status = ended.process->status();
    if (status == int(ExitCode::kResource) && at_once > 1 && request_.memory_budget > 0) {
      alone_.push_back(ended.result);
      return false;
    }
    ++finished_;
    result.status = status;
    result.seconds = SecondsSince(ended.start);
    const auto printed = ParseJson<Json>(ended.process->output());
    if (status == 0 && printed.is_object()) {
      Take(printed, result);
    } else {
      Fail(printed, result);
    }
    return true;
  }

  void Take(const Json& printed, JobResult& result) {
    result.state = printed.value("up_to_date", false) ? JobState::kUpToDate : JobState::kDone;
    result.bytes_before = Whole(printed, "bytes_before");
    result.bytes_after = Whole(printed, "bytes_after");
    result.peak_bytes = Whole(printed, "peak_resident_bytes");
    EnterResult(request_.directory, result.job.id, result.job.base, result.job.recipe);
    std::error_code error;
    fs::remove(LogOf(result.job), error);
  }

  void Fail(const Json& printed, JobResult& result) {
    result.state = JobState::kFailed;
    result.log = LogOf(result.job);
    if (printed.is_object() && printed.contains("error")) {
      const Json& error = printed["error"];
      result.message = error.at("what").get<std::string>();
      if (error.at("hint").is_string()) result.message += "; " + error["hint"].get<std::string>();
    } else if (result.status > 128) {
      result.message = KilledText(result.status);
    } else {
      result.message = "its process ended with status " + std::to_string(result.status) +
                       "; see '" + result.log.string() + "'";
    }
    spdlog::error("'" + result.job.id + "' failed: " + result.message);
    EnterFailure(request_.directory, result.job.id, result.status, result.message);
  }

  /// Lets those at work keep what they have.
  void Stop() {
    for (Running& each : running_) each.process->Interrupt();
    running_.clear();
  }

  const BatchRequest& request_;
  BatchReport& report_;
  std::vector<Running> running_;
  std::deque<size_t> alone_;
  size_t finished_ = 0;
};

void CheckIds(const std::vector<BatchJob>& jobs) {
  std::set<std::string> ids;
  for (const BatchJob& job : jobs) {
    if (ids.insert(job.id).second) continue;
    throw UsageError("two jobs would write '" + job.id +
                     "'; tell them apart in --name, for example by {recipe} or {base}");
  }
}

}  // namespace

std::string JobStateName(JobState state) {
  switch (state) {
    case JobState::kPlanned: return "planned";
    case JobState::kDone: return "done";
    case JobState::kUpToDate: return "up to date";
    case JobState::kFailed: return "failed";
  }
  return "";
}

int64_t BatchReport::Count(JobState state) const {
  return std::ranges::count(results, state, &JobResult::state);
}

std::vector<BatchJob> JobsOf(const Shard& shard, const std::vector<BatchJob>& jobs) {
  std::vector<size_t> order(jobs.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::stable_sort(order,
                           [&](size_t a, size_t b) { return jobs[a].bytes > jobs[b].bytes; });
  std::vector<size_t> own;
  for (size_t i = 0; i < order.size(); ++i) {
    if (int64_t(i) % shard.count == shard.index) own.push_back(order[i]);
  }
  std::ranges::sort(own);
  std::vector<BatchJob> taken;
  taken.reserve(own.size());
  for (const size_t i : own) taken.push_back(jobs[i]);
  return taken;
}

BatchReport RunBatch(const BatchRequest& request) {
  CheckIds(request.jobs);
  const auto start = Clock::now();
  BatchReport report;
  report.directory = request.directory;
  report.shard = request.shard;
  report.jobs_of_all = request.jobs.size();
  for (BatchJob& job : JobsOf(request.shard, request.jobs)) {
    report.results.emplace_back().job = std::move(job);
  }
  if (!request.dry_run) Batch(request, report).Run();
  report.seconds = SecondsSince(start);
  return report;
}

}  // namespace ptq
