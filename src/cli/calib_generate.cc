// quantize calib generate: lets a language model write its own calibration texts.
#include "ptq/flows/calib_generate.h"

#include <iostream>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"

namespace ptq {
namespace {

class CalibGenerateCommand : public Command {
 public:
  explicit CalibGenerateCommand(CLI::App& app) {
    app.option_defaults()->group("Input and output");
    app.add_option("--src,src", request_.source, "Language model: an .onnx file or its directory")
        ->type_name(kModelType)
        ->required();
    app.add_option("-o,--output,--out", request_.file,
                   "File to write, JSON lines; FILE.provenance.json beside it tells how")
        ->type_name(kFileType)
        ->required();
    app.add_option("--prompts", request_.prompts,
                   "Texts to continue, in any form that --calib reads")
        ->type_name(kFileType)
        ->allow_extra_args(false)
        ->default_str("none: texts begin with the tokenizer's first token, or a random one");
    AddTokenizerOption(app, request_.tokenizer);
    app.option_defaults()->group("Texts");
    AddWhole(app, "--samples", request_.samples, {.least = 1}, "Texts to write")
        ->default_str("128");
    AddWhole(app, "--max-tokens", request_.max_tokens, {.least = 1},
             "Tokens to write of a text at most")
        ->default_str("256");
    AddWhole(app, "--min-tokens", request_.min_tokens, {.least = 0},
             "Tokens to write before a text may end")
        ->default_str("32");
    AddReal(app, "--temperature", request_.temperature, {.least = 0, .most = 100},
            "How much the unlikely is drawn; 0: always the likeliest token")
        ->default_str("1");
    AddReal(app, "--top-p", request_.top_p, {.least = 0.001, .most = 1},
            "Share of the probability of which tokens are drawn, the likeliest first")
        ->default_str("0.95");
    AddSeedOption(app, request_.seed);
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Run control");
    app.footer(
        "Examples:\n"
        "  quantize calib generate model/ -o calib.jsonl\n"
        "  quantize calib generate model/ -o calib.jsonl --prompts questions.csv --samples 256");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    const GenerateReport report = GenerateCalibration(request_);
    if (json_) {
      PrintJson("calib generate", {{"recipe", ToJson(request_)},
                                   {"source", SourceJson(request_.source)},
                                   {"file", request_.file.string()},
                                   {"provenance", report.provenance.string()},
                                   {"samples", report.samples},
                                   {"tokens", report.tokens},
                                   {"notes", report.notes},
                                   {"seconds", report.seconds}});
    } else if (!global.quiet) {
      std::cout << "written       " << request_.file.string() << " (" << report.samples
                << " texts, " << report.tokens << " tokens)\n"
                << "provenance    " << report.provenance.string() << '\n';
      for (const std::string& note : report.notes) std::cout << "note          " << note << '\n';
      std::cout << "time          " << FormatSeconds(report.seconds) << '\n';
    }
    return ExitCode::kDone;
  }

 private:
  GenerateRequest request_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeCalibGenerateCommand(CLI::App& app) {
  return std::make_unique<CalibGenerateCommand>(app);
}

}  // namespace ptq
