// quantize calib build: makes a calibration set of logs or of a corpus.
#include "ptq/flows/calib_build.h"

#include <iostream>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/shares.h"
#include "options/values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"

namespace ptq {
namespace {

class CalibBuildCommand : public Command {
 public:
  explicit CalibBuildCommand(CLI::App& app) {
    AddFiles(app);
    AddFilters(app);
    app.option_defaults()->group("Choice");
    AddWhole(app, "--samples", request_.samples, {.least = 1}, "Texts to choose")
        ->default_str("128");
    app.add_option("--domain-field", request_.domain_field,
                   "Member of the entries that names their domain; each domain gives samples")
        ->type_name("KEY")
        ->default_str("none: clusters of texts that are alike");
    AddShares(app, "--composition", request_.composition,
              "Shares of the domains, as in code=0.3,chat=0.7; others are left out");
    AddWhole(app, "--clusters", request_.clusters, {.least = 1, .most = 1000},
             "Clusters, without a domain field")
        ->default_str("8");
    AddWhole(app, "--candidates", request_.candidates, {.least = 1, .most = 20000},
             "Texts, drawn at random, that are compared with each other")
        ->default_str("1024");
    AddSeedOption(app, request_.seed);
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Run control");
    app.footer(
        "Examples:\n"
        "  quantize calib build 'logs/*.jsonl:request.prompt' -o calib.jsonl --model model/\n"
        "  quantize calib build corpus.parquet -o calib.jsonl --domain-field source \\\n"
        "      --composition code=0.3,chat=0.7 --language en --language de");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    const BuildReport report = BuildCalibration(request_);
    if (json_) {
      nlohmann::ordered_json json = {{"recipe", ToJson(request_)}, {"source", nullptr}};
      if (!request_.model.empty()) json["source"] = SourceJson(request_.model);
      json["file"] = request_.file.string();
      json["provenance"] = report.provenance.string();
      json.update(ToJson(report));
      json["seconds"] = report.seconds;
      PrintJson("calib build", json);
    } else if (!global.quiet) {
      Print(report);
    }
    return ExitCode::kDone;
  }

 private:
  void AddFiles(CLI::App& app) {
    app.option_defaults()->group("Input and output");
    app.add_option("sources", request_.sources,
                   "Texts, in any form that --calib reads; FILE:KEY says where they are")
        ->type_name(kFileType)
        ->required();
    app.add_option("-o,--output,--out", request_.file,
                   "File to write, JSON lines; FILE.provenance.json beside it tells how")
        ->type_name(kFileType)
        ->required();
    app.add_option("--model", request_.model,
                   "Model whose hidden states tell texts apart, and whose tokens count")
        ->type_name(kModelType)
        ->default_str("none: words do both");
    AddTokenizerOption(app, request_.tokenizer);
    AddChoice<TextSplit>(app, "--calib-split", request_.split,
                         {{"auto", TextSplit::kAuto},
                          {"blank-line", TextSplit::kBlankLine},
                          {"line", TextSplit::kLine},
                          {"document", TextSplit::kDocument}},
                         "What separates the texts of a .txt");
  }

  void AddFilters(CLI::App& app) {
    app.option_defaults()->group("Filters");
    AddWhole(app, "--min-tokens", request_.min_tokens, {.least = 1}, "Least tokens of a text")
        ->default_str("20");
    AddWhole(app, "--max-tokens", request_.max_tokens, {.least = 1}, "Most tokens of a text")
        ->default_str("500");
    app.add_option("--language", request_.languages,
                   "Languages to keep, by their codes: en, deu; others are left out")
        ->type_name("CODE")
        ->allow_extra_args(false)
        ->default_str("all");
    app.add_option("--matching", request_.matching,
                   "Regular expressions, of which one must match a text")
        ->type_name("REGEX")
        ->allow_extra_args(false);
    app.add_option("--without", request_.without,
                   "Regular expressions, of which none may match a text")
        ->type_name("REGEX")
        ->allow_extra_args(false);
    app.add_flag_callback(
        "--no-mask", [this] { request_.mask = false; },
        "Keep secrets and e-mail addresses, which are masked otherwise");
    AddReal(app, "--similarity", request_.similarity, {.least = 0.1, .most = 1},
            "From which on a text is left out as nearly equal to an earlier one")
        ->default_str("0.8");
  }

  void Print(const BuildReport& report) const {
    int64_t read = 0;
    for (const CorpusFile& file : report.files) read += file.texts;
    std::cout << "written       " << request_.file.string() << " (" << report.samples << " texts, "
              << report.tokens << " tokens)\n"
              << "provenance    " << report.provenance.string() << '\n'
              << "read          " << read << " texts\n";
    for (const auto& [reason, count] : report.dropped) {
      std::cout << "left out      " << count << " (" << reason << ")\n";
    }
    if (report.masked > 0) {
      std::cout << "masked        " << report.masked << " places in " << report.masked_texts
                << " texts\n";
    }
    std::cout << "candidates    " << report.candidates << '\n';
    for (const BuildStratum& stratum : report.strata) {
      std::cout << "from          " << (stratum.name.empty() ? "no domain" : stratum.name) << ": "
                << stratum.samples << " of " << stratum.texts << '\n';
    }
    for (const std::string& note : report.notes) std::cout << "note          " << note << '\n';
    std::cout << "time          " << FormatSeconds(report.seconds) << '\n';
  }

  BuildRequest request_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeCalibBuildCommand(CLI::App& app) {
  return std::make_unique<CalibBuildCommand>(app);
}

}  // namespace ptq
