// quantize sweep: every combination of some settings, measured, and what quality costs.
#include "ptq/flows/sweep.h"

#include <algorithm>
#include <iostream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/recipe_words.h"
#include "options/suggest.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/format.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/report/report.h"
#include "ptq/report/sweep_report.h"

namespace ptq {
namespace {

constexpr size_t kMostPoints = 10000;

/// One setting and the values that it takes.
struct Axis {
  std::string key;
  std::vector<std::string> values;
};

/// "bits=3,4,8".
Axis ParseAxis(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw BadValue(Quoted(text) + " names no values; write it like bits=3,4,8");
  }
  Axis axis{Normalized(text.substr(0, equals)), {}};
  (void)WithSetting({}, axis.key, "");  // it must be one
  size_t at = equals + 1;
  while (at <= text.size()) {
    const size_t comma = std::min(text.find(',', at), text.size());
    axis.values.push_back(text.substr(at, comma - at));
    if (axis.values.back().empty()) throw BadValue(Quoted(text) + " has an empty value");
    at = comma + 1;
  }
  return axis;
}

/// A part of a directory's name.
std::string NamePart(const std::string& text) {
  std::string part = text;
  std::ranges::replace_if(
      part, [](unsigned char c) { return !std::isalnum(c) && c != '.' && c != '-' && c != '+'; },
      '-');
  return part;
}

class SweepCommand : public Command {
 public:
  explicit SweepCommand(CLI::App& app) : app_(app) {
    AddRecipeOptions(app, recipe_);
    app.get_option("--dst")->required();
    app.option_defaults()->group("Sweep");
    app.add_option_function<std::vector<std::string>>(
           "--over",
           [this](const std::vector<std::string>& texts) {
             axes_.clear();
             for (const std::string& text : texts) axes_.push_back(ParseAxis(text));
           },
           "An option of run and the values to try: bits=3,4,8. Several: every combination")
        ->type_name("OPTION=VALUES")
        ->allow_extra_args(false)
        ->required();
    app.add_option("--text", request_.text,
                   "Held-out text that results are measured on, beside the source, as quantize "
                   "eval does; without it their output errors are compared")
        ->type_name(kFileType);
    AddSize(app, "--best-under", best_under_,
            "Pick the best result of at most so many bytes, such as 400MB")
        ->default_str("the best of any size");
    AddChoice<SweepKeep>(
        app, "--keep", request_.keep,
        {{"pareto", SweepKeep::kPareto}, {"all", SweepKeep::kAll}, {"best", SweepKeep::kBest}},
        "Results that stay: those that no other beats in size and quality, all, or "
        "the one that is picked");
    app.add_option("--csv", csv_, "Write the table as CSV, too")->type_name(kFileType);
    app.option_defaults()->group("Run control");
    app.add_flag("--force", request_.force, "Do points again that are noted already");
    AddReportOption(app, report_file_);
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize sweep model/ sweep/ --over bits=3,4,8 --over group-size=32,128 --text t.txt\n"
        "  quantize sweep model/ sweep/ --over method=awq,best --over calib-samples=64,256\n"
        "  quantize sweep model/ sweep/ --over bits=2,3,4 --best-under 400MB --keep best");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    // What each run has to say stands in its metadata.
    if (!global.verbose) spdlog::set_level(spdlog::level::warn);
    request_.source = recipe_.source;
    request_.directory = recipe_.destination;
    if (best_under_ > 0) request_.best_under = best_under_;
    if (!csv_.empty()) CheckOutputFile(csv_, {});
    AddPoints(0, {}, Words());
    CheckReportFile(report_file_, {request_.source, request_.text}, ResultsOf(request_));
    const SweepReport report = RunSweep(request_);
    if (!csv_.empty()) WriteFileAtomically(csv_, SweepCsv(report));
    if (!report_file_.empty()) WriteReport(report_file_, ReportOf(report));
    if (json_) {
      PrintJson("sweep", SweepJson(report));
    } else if (!global.quiet) {
      std::cout << SweepText(report);
    }
    return report.best.has_value() ? ExitCode::kDone : NoneIsGood(report);
  }

 private:
  /// Each point's directory; beside these a report may lie.
  static std::vector<std::filesystem::path> ResultsOf(const SweepRequest& request) {
    std::vector<std::filesystem::path> results;
    for (const SweepPoint& point : request.points) results.push_back(request.directory / point.id);
    return results;
  }

  [[nodiscard]] std::vector<std::string> Words() const {
    std::vector<std::string> words = GivenWords(app_);
    std::erase_if(words, [](const std::string& word) { return word.starts_with("--overwrite="); });
    words.push_back("--src=" + recipe_.source.string());
    return words;
  }

  void AddPoints(size_t axis, const std::vector<std::pair<std::string, std::string>>& settings,
                 const std::vector<std::string>& words) {
    if (axis == axes_.size()) {
      std::string id;
      for (const auto& [key, value] : settings) {
        id += (id.empty() ? "" : "_") + key + "-" + NamePart(value);
      }
      if (request_.points.size() == kMostPoints) {
        throw UsageError("--over: more than " + std::to_string(kMostPoints) + " combinations");
      }
      request_.points.push_back({id, settings, ParseRecipe(words)});
      return;
    }
    for (const std::string& value : axes_[axis].values) {
      auto more = settings;
      more.emplace_back(axes_[axis].key, value);
      AddPoints(axis + 1, more, WithSetting(words, axes_[axis].key, value));
    }
  }

  /// What was printed says which points there are.
  static ExitCode NoneIsGood(const SweepReport& report) {
    int64_t least = std::numeric_limits<int64_t>::max();
    for (const SweepResult& result : report.results) {
      if (result.error.empty()) least = std::min(least, result.bytes);
    }
    spdlog::error(least == std::numeric_limits<int64_t>::max()
                      ? "no point could be made: " + report.results.front().error
                      : "no result is small enough; the smallest has " + FormatBytes(least));
    return ExitCode::kQuality;
  }

  const CLI::App& app_;
  Recipe recipe_;
  std::vector<Axis> axes_;
  SweepRequest request_;
  int64_t best_under_ = 0;
  std::filesystem::path csv_;
  std::filesystem::path report_file_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeSweepCommand(CLI::App& app) {
  return std::make_unique<SweepCommand>(app);
}

}  // namespace ptq
