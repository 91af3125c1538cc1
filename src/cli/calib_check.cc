// quantize calib check: judges a calibration set before a model is quantized with it.
#include "ptq/flows/calib_check.h"

#include <iostream>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/shares.h"
#include "options/values.h"
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"

namespace ptq {
namespace {

class CalibCheckCommand : public Command {
 public:
  explicit CalibCheckCommand(CLI::App& app) {
    AddFiles(app);
    AddLimits(app);
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Run control");
    app.footer(
        "Examples:\n"
        "  quantize calib check calib.jsonl --model model/\n"
        "  quantize calib check calib.jsonl --domain-field source --composition code=0.3,chat=0.7\n"
        "  quantize calib check calib.jsonl --eval-text held-out.txt --json");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    const CheckReport report = CheckCalibration(request_);
    if (json_) {
      nlohmann::ordered_json json = {{"recipe", ToJson(request_)}, {"source", nullptr}};
      if (!request_.model.empty()) json["source"] = SourceJson(request_.model);
      json.update(ToJson(report));
      json["seconds"] = report.seconds;
      PrintJson("calib check", json);
    } else if (!global.quiet) {
      Print(report);
    }
    return report.passed() ? ExitCode::kDone : ExitCode::kQuality;
  }

 private:
  void AddFiles(CLI::App& app) {
    app.option_defaults()->group("Input");
    app.add_option("files", request_.files, "Texts, in any form that --calib reads")
        ->type_name(kFileType)
        ->default_str("the prompts inside the program");
    app.add_option("--model", request_.model,
                   "Model whose states and scales are looked at, and whose tokens count")
        ->type_name(kModelType)
        ->default_str("none: words are counted");
    AddTokenizerOption(app, request_.tokenizer);
    AddChoice<TextSplit>(app, "--calib-split", request_.split,
                         {{"auto", TextSplit::kAuto},
                          {"blank-line", TextSplit::kBlankLine},
                          {"line", TextSplit::kLine},
                          {"document", TextSplit::kDocument}},
                         "What separates the texts of a .txt");
    app.add_option("--domain-field", request_.domain_field,
                   "Member of the entries that names their domain")
        ->type_name("KEY");
    AddShares(app, "--composition", request_.composition,
              "Shares that the domains should have, as in code=0.3,chat=0.7");
    app.add_option("--eval-text", request_.eval_texts,
                   "Texts that the model will be judged on, and that must not be among these")
        ->type_name(kFileType)
        ->allow_extra_args(false);
    AddWhole(app, "--samples", request_.samples, {.least = 2}, "Texts that the model runs on")
        ->default_str("128");
    AddWhole(app, "--seq-len", request_.seq_len, {.least = 1}, "Tokens of a text at most")
        ->default_str("512");
    AddSeedOption(app, request_.seed);
    app.add_flag_callback(
        "--no-convergence", [this] { request_.convergence = false; },
        "Do not search scales with both halves of the set, which takes longest");
  }

  void AddLimits(CLI::App& app) {
    app.option_defaults()->group("Limits");
    CheckLimits& limits = request_.limits;
    AddWhole(app, "--min-samples", limits.samples, {.least = 0}, "Least texts")->default_str("64");
    AddWhole(app, "--min-median", limits.median, {.least = 0}, "Least tokens of the middle text")
        ->default_str("16");
    const auto add = [&](const char* name, double& target, const char* fallback, const char* what) {
      AddReal(app, name, target, {.least = 0}, what)->default_str(fallback);
    };
    add("--max-short", limits.short_texts, "0.2", "Largest share of texts under 8 tokens");
    add("--max-duplicates", limits.duplicates, "0.1",
        "Largest share of texts that nearly equal an earlier one");
    add("--min-distinct", limits.distinct, "0.5",
        "Least share of different ones among the runs of three words");
    add("--min-spread", limits.spread, "0.25",
        "Least spread of the model's states, that of the built-in prompts being 1");
    add("--max-imbalance", limits.imbalance, "0.1",
        "Largest difference of a domain's share from --composition");
    add("--max-domain", limits.largest_domain, "0.8",
        "Largest share of one domain, without --composition");
    add("--max-overlap", limits.overlap, "0.01",
        "Largest share of texts with 13 words in a row of --eval-text");
    add("--max-alpha-change", limits.alpha_change, "0.1",
        "Largest mean difference of the halves' scaling exponents");
    add("--max-loss-change", limits.loss_change, "0.1",
        "Most additional loss by the other half's scales and codes");
  }

  static void Print(const CheckReport& report) {
    std::cout << fmt::format("texts         {} ({}{} tokens; {} to {}, middle {})\n", report.texts,
                             report.estimated ? "about " : "", report.tokens, report.shortest,
                             report.longest, report.median);
    for (const auto& [domain, share] : report.domains) {
      std::cout << fmt::format("domain        {}: {:.1f} %\n", domain.empty() ? "none" : domain,
                               100 * share);
    }
    for (const CheckVerdict& verdict : report.verdicts) {
      std::cout << fmt::format("{}  {:<14} {:.4g} (at {} {:.4g}): {}\n",
                               verdict.passed() ? "pass" : "FAIL", verdict.name, verdict.value,
                               verdict.at_least ? "least" : "most", verdict.limit, verdict.what);
      if (!verdict.passed()) std::cout << "      " << verdict.advice << '\n';
    }
    for (const std::string& note : report.notes) std::cout << "note          " << note << '\n';
    const auto failed = std::ranges::count_if(
        report.verdicts, [](const CheckVerdict& verdict) { return !verdict.passed(); });
    std::cout << (failed == 0
                      ? "passed"
                      : fmt::format("failed        {} of {}", failed, report.verdicts.size()))
              << '\n';
  }

  CheckRequest request_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeCalibCheckCommand(CLI::App& app) {
  return std::make_unique<CalibCheckCommand>(app);
}

}  // namespace ptq
