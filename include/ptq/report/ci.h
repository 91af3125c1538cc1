// What a run or a batch leaves for those who watch it: metrics, a test report, a summary.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/base/error.h"
#include "ptq/flows/batch.h"
#include "ptq/flows/make_result.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Where they go; what is empty is not written.
struct CiFiles {
  std::filesystem::path metrics;         ///< Prometheus text format, for a textfile collector
  std::filesystem::path junit;           ///< JUnit's XML
  std::filesystem::path github_summary;  ///< Markdown that is added to the file's end

  [[nodiscard]] bool any() const {
    return !metrics.empty() || !junit.empty() || !github_summary.empty();
  }
};

/// The document that all three are made of (docs/ci.md): `command`, `model`, `destination`,
/// `status`, `message`, `seconds`, and what is known of `bytes_before`, `bytes_after`,
/// `peak_bytes`, `relative_loss`, `linears`, `gate`, `jobs`.
[[nodiscard]] nlohmann::ordered_json CiDocument(const MadeResult& made, const Recipe& recipe);
[[nodiscard]] nlohmann::ordered_json CiDocument(const BatchReport& report);
/// Of a run that ended with an error; of a gate that failed with what it measured.
[[nodiscard]] nlohmann::ordered_json CiDocument(const Error& error, const Recipe& recipe);

/// Families of gauges, in the text format 0.0.4 of Prometheus. `now`: seconds since 1970.
[[nodiscard]] std::string MetricsText(const nlohmann::ordered_json& document, double now);
/// A test case for each job, or for the run and each of its gates. Throws UsageError in a build
/// without PTQ_TEXT, as the next does.
[[nodiscard]] std::string JunitText(const nlohmann::ordered_json& document);
[[nodiscard]] std::string GithubSummaryText(const nlohmann::ordered_json& document);

/// Before the work: throws OutputError for a file that cannot be written, or is one of `inputs`.
void CheckCiFiles(const CiFiles& files, const std::vector<std::filesystem::path>& inputs);
/// Writes them; each is complete or as it was. Throws OutputError.
void WriteCi(const CiFiles& files, const nlohmann::ordered_json& document);

}  // namespace ptq
