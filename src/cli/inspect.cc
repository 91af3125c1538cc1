#include <filesystem>
#include <iostream>

#include "json_output.h"
#include "values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/cli/command.h"
#include "ptq/emit/metadata.h"
#include "ptq/pipeline/run.h"
#include "ptq/report/metadata_report.h"
#include "ptq/report/model_report.h"
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
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Output");
    app.footer("Examples:\n  quantize inspect model.onnx\n  quantize inspect out/ --json");
  }

  ExitCode Run(const GlobalOptions&) override {
    std::error_code error;
    auto metadata = path_;
    if (std::filesystem::is_directory(path_, error)) metadata /= kMetadataFileName;
    if (metadata.extension() == ".json" && std::filesystem::exists(metadata, error)) {
      ShowMetadata(metadata);
    } else {
      ShowModel();
    }
    return ExitCode::kDone;
  }

 private:
  void ShowMetadata(const std::filesystem::path& path) const {
    const auto json = nlohmann::ordered_json::parse(ReadTextFile(path), nullptr, false);
    if (json.is_discarded()) throw InputError("'" + path.string() + "' is not valid JSON");
    std::cout << (json_ ? json.dump(2) + "\n" : MetadataText(json));
  }

  /// The model, and the linears as a run with default options would see them where it can run.
  void ShowModel() const {
    const Model model = Model::Load(path_);
    const Graph graph(model);
    nlohmann::ordered_json json = {{"source", SourceJson(model)}};
    json.update(ModelJson(graph));
    std::string text = ModelText(graph);
    try {
      Recipe recipe;
      recipe.source = path_;
      const RunReport report = PlanRun(recipe);
      json["linears"] = PlanJson(report)["linears"];
      text += "\nas run would see it with its default options:\n" + PlanText(report);
    } catch (const UnsupportedError& error) {
      json["unsupported"] = error.what();
      text += std::string("\ncannot be quantized: ") + error.what() + '\n';
    }
    if (json_) {
      PrintJson("inspect", json);
    } else {
      std::cout << text;
    }
  }

  std::filesystem::path path_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeInspectCommand(CLI::App& app) {
  return std::make_unique<InspectCommand>(app);
}

}  // namespace ptq
