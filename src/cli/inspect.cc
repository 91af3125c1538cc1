// quantize inspect: shows what a model holds, or what a run has written.
#include <filesystem>
#include <iostream>
#include <vector>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/cli/command.h"
#include "ptq/emit/metadata.h"
#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/run.h"
#include "ptq/report/linear_order.h"
#include "ptq/report/metadata_report.h"
#include "ptq/report/model_report.h"
#include "ptq/report/report.h"
#include "ptq/report/run_report.h"

namespace ptq {
namespace {

class InspectCommand : public Command {
 public:
  explicit InspectCommand(CLI::App& app) {
    app.add_option("path", path_,
                   "A model, a directory written by run, or a quantization_metadata.json")
        ->type_name(kFileType)
        ->required()
        ->group("Input");
    app.option_defaults()->group("Output");
    AddChoice<LinearKey>(
        app, "--sort", order_.key,
        {{"file", LinearKey::kFile},
         {"name", LinearKey::kName},
         {"shape", LinearKey::kShape},
         {"size", LinearKey::kSize},
         {"error", LinearKey::kError},
         {"gain", LinearKey::kGain}},
        "Order of the linears: as in the file, by name, or the largest first: number "
        "of weights, bytes in the result, error, gain over rounding to nearest");
    AddWhole(app, "--top", order_.top, {.least = 1}, "List so many linears at most");
    AddReportOption(app, report_file_);
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize inspect model.onnx\n"
        "  quantize inspect out/ --sort error --top 20\n"
        "  quantize inspect out/ --report out.html\n"
        "  quantize inspect out/ --json");
  }

  ExitCode Run(const GlobalOptions&) override {
    std::error_code error;
    auto metadata = path_;
    if (std::filesystem::is_directory(path_, error)) metadata /= kMetadataFileName;
    if (metadata.extension() == ".json" && std::filesystem::exists(metadata, error)) {
      WithJsonOf(metadata, [&] { ShowMetadata(metadata); });
    } else if (!report_file_.empty()) {
      throw UsageError("--report is made of what a run has written, and '" + path_.string() +
                       "' has no " + kMetadataFileName);
    } else {
      ShowModels();
    }
    return ExitCode::kDone;
  }

 private:
  void Print(const nlohmann::ordered_json& json, const std::string& text) const {
    if (json_) {
      PrintJson("inspect", json);
    } else {
      std::cout << text;
    }
  }

  void WriteReportOf(const nlohmann::ordered_json& metadata,
                     const std::filesystem::path& path) const {
    const bool directory = path != path_;
    CheckReportFile(report_file_, {path},
                    directory ? std::vector{path_} : std::vector<std::filesystem::path>());
    nlohmann::ordered_json report = ReportOf(metadata);
    report["title"] = TitleOf(path_);
    WriteReport(report_file_, report);
  }

  /// What was written, and the models beside it as far as they are still there.
  void ShowMetadata(const std::filesystem::path& path) const {
    auto json = ParseJson<nlohmann::ordered_json>(ReadTextFile(path));
    if (!json.is_object()) throw InputError("'" + path.string() + "' holds no JSON object");
    if (!report_file_.empty()) WriteReportOf(json, path);
    json = ArrangedMetadata(std::move(json), order_);
    std::string text;
    for (const auto& file : ModelsBeside(path)) {
      try {
        const Model model = Model::Load(file);
        const Graph graph(model);
        json["model_files"].push_back(ModelFrontJson(graph));
        text += ModelFrontText(graph) + '\n';
      } catch (const Error&) {
        continue;  // the metadata alone are asked for
      }
    }
    std::cout << (json_ ? DumpJson(json, 2) + "\n" : text + MetadataText(json));
  }

  /// None when they are not where models are looked for.
  static std::vector<std::filesystem::path> ModelsBeside(const std::filesystem::path& metadata) {
    try {
      return ModelFiles(std::filesystem::absolute(metadata).parent_path()).files;
    } catch (const InputError&) {
      return {};
    }
  }

  void ShowModels() const {
    const auto files = ModelFiles(path_).files;
    if (files.size() == 1) {
      const auto [json, text] = Described(files.front());
      return Print(json, text);
    }
    nlohmann::ordered_json all;
    std::string texts;
    for (const auto& file : files) {
      const auto [json, text] = Described(file);
      all["models"].push_back(json);
      texts += (texts.empty() ? "" : "\n") + text;
    }
    Print(all, texts);
  }

  [[nodiscard]] std::pair<nlohmann::ordered_json, std::string> Described(
      const std::filesystem::path& file) const {
    auto [json, text] = DescribedModel(file);
    DescribePlan(file, json, text);
    return {json, text};
  }

  /// The model as it is in the file. It is let go before it is planned for.
  [[nodiscard]] static std::pair<nlohmann::ordered_json, std::string> DescribedModel(
      const std::filesystem::path& file) {
    const Model model = Model::Load(file);
    const Graph graph(model);
    nlohmann::ordered_json json = {{"source", SourceJson(model)}};
    json.update(ModelJson(graph));
    const std::string text = ModelText(graph);
    return {json, text};
  }

  /// The linears as a run with default options would see them, or one that need not run the model.
  void DescribePlan(const std::filesystem::path& file, nlohmann::ordered_json& json,
                    std::string& text) const {
    Recipe recipe;
    recipe.source = file;
    const auto plan = [&](const std::string& options) {
      const RunReport report = PlanRun(recipe);
      json["linears"] = PlanJson(report, order_)["linears"];
      text += "\nas run would see it with " + options + ":\n" + PlanText(report, order_);
    };
    std::string why;
    try {
      return plan("its default options");
    } catch (const UnsupportedError& error) {
      why = error.what();
    }
    json["unsupported"] = why;
    try {
      recipe.method = "rtn";
      plan("--method rtn");
      text += "\nnot with its default options: " + why + '\n';
    } catch (const UnsupportedError&) {
      text += "\ncannot be quantized: " + why + '\n';
    }
  }

  std::filesystem::path path_;
  LinearOrder order_;
  std::filesystem::path report_file_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeInspectCommand(CLI::App& app) {
  return std::make_unique<InspectCommand>(app);
}

}  // namespace ptq
