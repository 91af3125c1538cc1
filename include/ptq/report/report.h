// A report: one JSON document of optional sections, and the page that shows those that are there
// (docs/reports.md).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/flows/batch.h"
#include "ptq/flows/comparison.h"
#include "ptq/flows/gate_failed.h"
#include "ptq/flows/make_result.h"
#include "ptq/flows/sweep.h"

namespace ptq {

/// What a result's metadata tell: `title`, `tool`, `recipe`, `summary`, `tensors`, `salience`,
/// `alpha`, `depth`, `sizes` and `calibration`; of a directory of several models those of all. A
/// command adds its own sections (`gate`, `evaluation`, `pareto`, `jobs`, `comparison`), whose
/// members docs/reports.md lists. Throws InputError when it is not the metadata of a result.
[[nodiscard]] nlohmann::ordered_json ReportOf(const nlohmann::ordered_json& metadata);

/// The same of a run that has just ended, with its time and memory.
[[nodiscard]] nlohmann::ordered_json ReportOf(const MadeResult& made);
/// The same of a result that did not keep its gates and is gone; it would have been `destination`.
[[nodiscard]] nlohmann::ordered_json ReportOf(const GateFailed& failed,
                                              const std::filesystem::path& destination);
/// `jobs`: what became of each.
[[nodiscard]] nlohmann::ordered_json ReportOf(const BatchReport& report);
/// `pareto`: each point by size and quality.
[[nodiscard]] nlohmann::ordered_json ReportOf(const SweepReport& report);
/// `comparison`: what differs.
[[nodiscard]] nlohmann::ordered_json ReportOf(const Comparison& comparison);

/// What people call a model: the name of its directory or file.
[[nodiscard]] std::string TitleOf(const std::filesystem::path& model);

/// The page: HTML that needs no other file and no network. Whatever names are in the document, none
/// becomes markup. Throws UsageError in a build without PTQ_TEXT.
[[nodiscard]] std::string ReportHtml(const nlohmann::ordered_json& document);

/// Writes the page; it is complete or absent. Throws OutputError.
void WriteReport(const std::filesystem::path& file, const nlohmann::ordered_json& document);

/// For a file that a command will write when its work is done: throws OutputError before it when
/// the file could not be written then, is one of `inputs`, or lies inside a directory of `results`,
/// which holds what a run has written and nothing else. An empty path is no file. What
/// WriteReport needs of the build is asked for, too.
void CheckReportFile(const std::filesystem::path& file,
                     const std::vector<std::filesystem::path>& inputs,
                     const std::vector<std::filesystem::path>& results);

}  // namespace ptq
