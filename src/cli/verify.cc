// quantize verify: looks whether a result is what was written, and whether it works.
#include <iostream>

#include "json_output.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/flows/verification.h"
#include "ptq/report/verification_report.h"

namespace ptq {
namespace {

class VerifyCommand : public Command {
 public:
  explicit VerifyCommand(CLI::App& app) {
    app.option_defaults()->group("Input");
    app.add_option("result", request_.result,
                   "A directory that run or bundle wrote, or a model that run wrote as one file")
        ->type_name(kModelType)
        ->required();
    app.add_option("--source", request_.source,
                   "The model that it was made of: compare its hashes, and let pass what is odd "
                   "about its operators already")
        ->type_name(kModelType);
    app.option_defaults()->group("Run control");
    app.add_flag("--no-run", no_run_, "Do not run the models");
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize verify out/\n"
        "  quantize verify out/ --source model/ --json");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    request_.run = !no_run_;
    const VerificationReport report = VerifyResult(request_);
    if (json_) {
      PrintJson("verify", VerificationJson(report));
    } else {
      std::cout << VerificationText(report);
    }
    return report.passed() ? ExitCode::kDone : ExitCode::kQuality;
  }

 private:
  VerificationRequest request_;
  bool no_run_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeVerifyCommand(CLI::App& app) {
  return std::make_unique<VerifyCommand>(app);
}

}  // namespace ptq
