// Collects what there is to say about a run or a batch, and writes it in each form.
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "ptq/base/destination.h"
#include "ptq/base/file.h"
#include "ptq/flows/gate_failed.h"
#include "ptq/report/batch_report.h"
#include "ptq/report/ci.h"
#include "ptq/report/report.h"
#include "ptq/report/run_report.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Json StartOf(const char* command, const std::filesystem::path& model,
             const std::filesystem::path& destination) {
  return {{"command", command},
          {"model", model.empty() ? "" : TitleOf(model)},
          {"destination", destination.string()},
          {"status", 0},
          {"message", nullptr}};
}

void Add(const RunReport& report, Json& document) {
  const Json summary = SummaryJson(report);
  document["relative_loss"] = report.up_to_date ? Json(nullptr) : summary.at("relative_loss");
  if (!report.up_to_date) {
    const Json& counts = summary.at("linears");
    for (const char* name : {"quantized", "fp16", "kept"}) {
      document["linears"][name] = counts.at(name);
    }
  }
  document["seconds"] = report.timings.total;
  if (report.gate.has_value()) document["gate"] = ToJson(*report.gate);
}

void Add(const DirectoryReport& report, Json& document) {
  document["seconds"] = report.seconds;
  if (report.gate.has_value()) document["gate"] = ToJson(*report.gate);
}

/// Whether a file that is there is an earlier one of these, by its beginning.
bool IsOurs(const std::filesystem::path& file) {
  const std::string front = ReadFront(file, 512);
  return front.empty() || front.starts_with("# HELP quantize_") ||
         (front.starts_with("<?xml") && front.find("<testsuite name=\"quantize ") != front.npos);
}

bool IsPassed(const Json& job) { return job.at("state") != "failed"; }

}  // namespace

Json CiDocument(const MadeResult& made, const Recipe& recipe) {
  Json document = StartOf("run", recipe.source, recipe.destination);
  std::visit(
      [&](const auto& report) {
        document["up_to_date"] = report.up_to_date;
        document["bytes_before"] = report.bytes_before;
        document["bytes_after"] = report.bytes_after;
        document["peak_bytes"] = report.peak_bytes;
        Add(report, document);
      },
      made);
  return document;
}

Json CiDocument(const BatchReport& report) {
  Json document = StartOf("batch", {}, report.directory);
  document.update(BatchJson(report));
  document["model"] = TitleOf(report.directory);
  for (const Json& job : document["jobs"]) {
    if (IsPassed(job) || document["status"] != 0) continue;
    document["status"] = job.at("status");
    document["message"] = std::to_string(report.Count(JobState::kFailed)) + " of " +
                          std::to_string(report.results.size()) + " jobs failed";
  }
  return document;
}

Json CiDocument(const Error& error, const Recipe& recipe) {
  Json document = StartOf("run", recipe.source, recipe.destination);
  document["status"] = int(error.code());
  document["message"] = error.what();
  document["seconds"] = nullptr;
  if (const auto* failed = dynamic_cast<const GateFailed*>(&error); failed != nullptr) {
    document["gate"] = ToJson(failed->report());
  }
  return document;
}

void CheckCiFiles(const CiFiles& files, const std::vector<std::filesystem::path>& inputs) {
  std::error_code error;
  for (const auto& file : {files.metrics, files.junit, files.github_summary}) {
    if (file.empty()) continue;
    CheckOutputFile(file, inputs);
    if (std::filesystem::exists(file, error) && file != files.github_summary && !IsOurs(file)) {
      throw OutputError("'" + file.string() +
                        "' is not what this program wrote, and is never replaced; choose another "
                        "name");
    }
    const auto parent = std::filesystem::absolute(file).parent_path();
    if (!std::filesystem::is_directory(parent, error)) {
      throw OutputError("cannot write '" + file.string() + "': there is no directory '" +
                        parent.string() + "'");
    }
  }
}

void WriteCi(const CiFiles& files, const Json& document) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  if (!files.metrics.empty()) {
    WriteFileAtomically(files.metrics, MetricsText(document, std::floor(now)));
  }
  if (!files.junit.empty()) WriteFileAtomically(files.junit, JunitText(document));
  if (files.github_summary.empty()) return;
  // Others add to it, too.
  std::ofstream summary(files.github_summary, std::ios::binary | std::ios::app);
  summary << GithubSummaryText(document);
  summary.flush();
  if (!summary) throw OutputError("cannot write '" + files.github_summary.string() + "'");
}

}  // namespace ptq
