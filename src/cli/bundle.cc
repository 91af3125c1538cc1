// quantize bundle: makes one result of two forms of a model, between which a service can switch.
#include "ptq/flows/bundle.h"

#include <iostream>
#include <utility>

#include "json_output.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/report/bundle_report.h"

namespace ptq {
namespace {

/// Two names, "fp32,int4", for files and directories.
std::array<std::string, 2> ParseNames(const std::string& text) {
  const size_t comma = text.find(',');
  std::array<std::string, 2> names = {text.substr(0, comma),
                                      comma == std::string::npos ? "" : text.substr(comma + 1)};
  constexpr const char* kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  for (const std::string& name : names) {
    if (!name.empty() && name.find_first_not_of(kLetters) == std::string::npos) continue;
    throw BadValue(Quoted(text) +
                   " is not two names of letters, digits, '-' and '_' with a comma "
                   "between them, such as fp32,int4");
  }
  return names;
}

class BundleCommand : public Command {
 public:
  explicit BundleCommand(CLI::App& app) {
    app.option_defaults()->group("Input and output");
    app.add_option("a", request_.sources[0],
                   "First model: an .onnx file or its directory, a result of run or its source")
        ->type_name(kModelType)
        ->required();
    app.add_option("b", request_.sources[1], "Second model: another form of the same one")
        ->type_name(kModelType)
        ->required();
    app.add_option("-o,--output,--dst", request_.destination, "Directory to write")
        ->type_name(kDirectoryType)
        ->required();
    app.add_flag("--overwrite", request_.overwrite, "Replace the destination if it exists");
    app.option_defaults()->group("Bundle");
    AddChoice<BundleForm>(app, "--as", request_.options.form,
                          {{"graph", BundleForm::kGraph},
                           {"files", BundleForm::kFiles},
                           {"package", BundleForm::kPackage}},
                          "graph: one model with an input that chooses; files: two models over one "
                          "data file; package: a model package of ONNX Runtime");
    AddChoice<SwitchForm>(
        app, "--switch", request_.options.switch_form,
        {{"linear", SwitchForm::kLinear}, {"whole", SwitchForm::kWhole}},
        "Of a graph: each region in which the models differ, or all of it, goes into an If");
    AddChoice<int>(app, "--default", request_.options.choice.default_model, {{"A", 0}, {"B", 1}},
                   "The model that runs when nobody chooses");
    app.add_option("--input", request_.options.choice.input, "Name of the input that chooses")
        ->type_name("NAME")
        ->default_str("precision");
    app.add_option_function<std::string>(
           "--names", [this](const std::string& text) { names_ = ParseNames(text); },
           "What the models are called in files and metadata")
        ->type_name("A,B")
        ->default_str("those of their files or directories");
    app.option_defaults()->group("Run control");
    app.add_flag(
        "--dry-run", request_.dry_run,
        "Say what would be written and how large, or what would be refused; write nothing");
    app.add_flag_callback(
        "--no-verify", [this] { request_.verify = false; },
        "Do not run the written bundle beside the models");
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize bundle model/ int4/ --dst both/ --names fp32,int4\n"
        "  quantize bundle model/ int4/ --dst both/ --as files");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    request_.options.choice.names = names_;
    const BundleReport report = BundleModels(request_);
    if (json_) {
      PrintJson("bundle", BundleJson(report, request_.dry_run));
    } else if (!global.quiet || request_.dry_run) {
      std::cout << BundleText(report, request_.dry_run);
    }
    return ExitCode::kDone;
  }

 private:
  BundleRequest request_;
  std::array<std::string, 2> names_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeBundleCommand(CLI::App& app) {
  return std::make_unique<BundleCommand>(app);
}

}  // namespace ptq
