// quantize forward: runs a model on the arrays of a file, and writes or compares its outputs.
#include <Eigen/Core>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <optional>
#include <utility>

#include "json_output.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/destination.h"
#include "ptq/base/hash.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/cli/command.h"
#include "ptq/model/model_paths.h"
#include "ptq/runtime/run_model.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

constexpr std::string_view kInput = "in.";
constexpr std::string_view kOutput = "out.";

/// How far an output is from the expected one.
struct Difference {
  double max_abs = 0;
  double max_expected = 0;
  double cosine = 1;
};

Difference Compare(const Tensor& got, const Tensor& expected, const std::string& name) {
  if (got.shape() != expected.shape()) {
    throw QualityError("output '" + name + "' has shape " + ToString(got.shape()) + ", expected " +
                       ToString(expected.shape()));
  }
  const Tensor a = got.Cast(DType::kFloat64);
  const Tensor b = expected.Cast(DType::kFloat64);
  const auto x = a.data<double>();
  const auto y = b.data<double>();
  Difference difference;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    const double delta = same ? 0 : std::abs(x[i] - y[i]);
    // A NaN on one side only must not be lost in the maximum.
    if (!(delta <= difference.max_abs)) difference.max_abs = delta;
    if (std::isfinite(y[i])) {
      difference.max_expected = std::max(difference.max_expected, std::abs(y[i]));
      xy += x[i] * y[i];
      xx += x[i] * x[i];
      yy += y[i] * y[i];
    }
  }
  if (xx > 0 && yy > 0) difference.cosine = xy / std::sqrt(xx * yy);
  return difference;
}

class ForwardCommand : public Command {
 public:
  explicit ForwardCommand(CLI::App& app) {
    app.option_defaults()->group("Input and output");
    app.add_option("--src,src", source_, "Model file or directory")
        ->type_name(kModelType)
        ->required();
    app.add_option("--inputs", inputs_, "Arrays to feed: .npz with in.<name> (or <name>)")
        ->type_name(kFileType)
        ->required();
    app.add_option("-o,--output,--out", out_, "Write the outputs here as out.<name> (.npz)")
        ->type_name(kFileType);
    app.add_flag(
        "--against", against_,
        "Compare with the out.<name> arrays of --inputs: max |difference|, relative to the "
        "largest expected value, and cosine");
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize forward model.onnx --inputs in.npz --out out.npz\n"
        "  quantize forward out/ --inputs expected.npz --against");
  }

  ExitCode Run(const GlobalOptions& global) override {
    if (out_.empty() && !against_) throw UsageError("nothing to do: give --out FILE or --against");
    const ThreadLimit threads(global.threads);
    if (!out_.empty()) CheckOutputFile(out_, {inputs_, source_});
    const auto arrays = ReadNpz(inputs_);
    std::map<std::string, Tensor> feeds, expected;
    for (const auto& [name, tensor] : arrays) {
      if (name.starts_with(kOutput)) {
        expected[name.substr(kOutput.size())] = tensor;
      } else {
        feeds[name.starts_with(kInput) ? name.substr(kInput.size()) : name] = tensor;
      }
    }
    if (against_ && expected.empty()) {
      throw InputError("'" + inputs_ + "' holds no out.<name> array to compare with");
    }
    const Model model = Model::Load(source_);
    if (!out_.empty()) CheckOutputFile(out_, PathsOf(model));
    const Graph graph(model);
    const Executor executor(graph);
    std::optional<Progress> progress(std::in_place, "running the model");
    const auto outputs = RunModel(executor, feeds);
    progress.reset();
    const auto rows = against_ ? CompareAll(outputs, expected) : std::vector<Row>();
    if (!out_.empty()) {
      std::map<std::string, Tensor> named;
      for (const auto& [name, tensor] : outputs) named[std::string(kOutput) + name] = tensor;
      WriteNpz(out_, named);
    }
    if (json_) {
      PrintAsJson(model, outputs, rows);
    } else if (against_) {
      PrintTable(rows);
    }
    return ExitCode::kDone;
  }

 private:
  struct Row {
    std::string name;
    Difference difference;
    [[nodiscard]] double relative() const {
      return difference.max_expected > 0 ? difference.max_abs / difference.max_expected
                                         : difference.max_abs;
    }
  };

  static std::vector<Row> CompareAll(const std::map<std::string, Tensor>& outputs,
                                     const std::map<std::string, Tensor>& expected) {
    std::vector<Row> rows;
    for (const auto& [name, tensor] : expected) {
      const auto found = outputs.find(name);
      if (found == outputs.end()) throw InputError("the model has no output '" + name + "'");
      rows.push_back({name, Compare(found->second, tensor, name)});
    }
    return rows;
  }

  static void PrintTable(const std::vector<Row>& rows) {
    std::cout << std::left << std::setw(32) << "output" << std::right << std::setw(14)
              << "max |diff|" << std::setw(14) << "relative" << std::setw(16) << "cosine" << '\n';
    for (const Row& row : rows) {
      std::cout << std::left << std::setw(32) << row.name << std::right << std::scientific
                << std::setprecision(3) << std::setw(14) << row.difference.max_abs << std::setw(14)
                << row.relative() << std::fixed << std::setprecision(9) << std::setw(16)
                << row.difference.cosine << '\n';
    }
  }

  void PrintAsJson(const Model& model, const std::map<std::string, Tensor>& outputs,
                   const std::vector<Row>& rows) const {
    const auto number = [](double value) {
      return std::isfinite(value) ? nlohmann::ordered_json(value) : nullptr;
    };
    nlohmann::ordered_json json;
    json["source"] = SourceJson(model);
    json["inputs"] = {{"file", inputs_}, {"sha256", Sha256OfFile(inputs_)}};
    json["file"] = out_.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(out_);
    auto& list = json["outputs"] = nlohmann::ordered_json::array();
    for (const auto& [name, tensor] : outputs) {
      nlohmann::ordered_json entry = {
          {"name", name}, {"type", DTypeName(tensor.dtype())}, {"shape", tensor.shape()}};
      for (const Row& row : rows) {
        if (row.name != name) continue;
        entry["max_difference"] = number(row.difference.max_abs);
        entry["relative_difference"] = number(row.relative());
        entry["cosine"] = number(row.difference.cosine);
      }
      list.push_back(std::move(entry));
    }
    PrintJson("forward", json);
  }

  std::string source_, inputs_, out_;
  bool against_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeForwardCommand(CLI::App& app) {
  return std::make_unique<ForwardCommand>(app);
}

}  // namespace ptq
