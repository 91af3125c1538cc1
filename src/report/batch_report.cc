// Lists jobs with their sizes, times and errors.
#include "ptq/report/batch_report.h"

#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

bool HasResult(const JobResult& result) {
  return result.state == JobState::kDone || result.state == JobState::kUpToDate;
}

std::string SummaryLine(const BatchReport& report) {
  std::string text = std::to_string(report.results.size()) + " jobs";
  if (report.shard.count > 1) {
    text += " (shard " + std::to_string(report.shard.index) + " of " +
            std::to_string(report.shard.count) + ", of " + std::to_string(report.jobs_of_all) +
            " in all)";
  }
  if (report.Count(JobState::kPlanned) > 0) return text + ": nothing is done yet\n";
  text += ": " + std::to_string(report.Count(JobState::kDone)) + " done, " +
          std::to_string(report.Count(JobState::kUpToDate)) + " up to date, " +
          std::to_string(report.Count(JobState::kFailed)) + " failed, in " +
          FormatSeconds(report.seconds) + "\n";
  return text;
}

}  // namespace

std::string BatchText(const BatchReport& report) {
  using Align = TextTable::Align;
  TextTable table({{"job", Align::kLeft},
                   {"state", Align::kLeft},
                   {"before", Align::kRight},
                   {"after", Align::kRight},
                   {"time", Align::kRight}});
  for (const JobResult& result : report.results) {
    const bool planned = result.state == JobState::kPlanned;
    table.AddRow({result.job.id, JobStateName(result.state),
                  FormatBytes(HasResult(result) ? result.bytes_before : result.job.bytes),
                  HasResult(result) ? FormatBytes(result.bytes_after) : "-",
                  planned ? "-" : FormatSeconds(result.seconds)});
  }
  std::string text = table.Text();
  for (const JobResult& result : report.results) {
    if (result.state != JobState::kFailed) continue;
    text += "failed        " + result.job.id + " (status " + std::to_string(result.status) +
            "): " + result.message + "\n";
  }
  return text + SummaryLine(report);
}

Json BatchJson(const BatchReport& report) {
  Json jobs = Json::array();
  for (const JobResult& result : report.results) {
    const bool has_result = HasResult(result);
    const bool failed = result.state == JobState::kFailed;
    jobs.push_back(
        {{"id", result.job.id},
         {"source", result.job.source.string()},
         {"base_model", result.job.base},
         {"recipe", result.job.recipe.empty() ? Json(nullptr) : Json(result.job.recipe)},
         {"state", JobStateName(result.state)},
         {"status", result.state == JobState::kPlanned ? Json(nullptr) : Json(result.status)},
         {"message", failed ? Json(result.message) : Json(nullptr)},
         {"log", failed ? Json(result.log.string()) : Json(nullptr)},
         {"bytes_before", has_result ? Json(result.bytes_before) : Json(nullptr)},
         {"bytes_after", has_result ? Json(result.bytes_after) : Json(nullptr)},
         {"peak_resident_bytes", result.peak_bytes > 0 ? Json(result.peak_bytes) : Json(nullptr)},
         {"seconds", result.state == JobState::kPlanned ? Json(nullptr) : Json(result.seconds)}});
  }
  return {{"destination", report.directory.string()},
          {"shard",
           {{"index", report.shard.index},
            {"count", report.shard.count},
            {"from", report.shard.from.empty() ? Json(nullptr) : Json(report.shard.from)}}},
          {"jobs_of_all_shards", report.jobs_of_all},
          {"done", report.Count(JobState::kDone)},
          {"up_to_date", report.Count(JobState::kUpToDate)},
          {"failed", report.Count(JobState::kFailed)},
          {"seconds", report.seconds},
          {"jobs", std::move(jobs)}};
}

}  // namespace ptq
