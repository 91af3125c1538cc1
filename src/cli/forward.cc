#include <Eigen/Core>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/runtime/executor.h"
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
    app.add_option("--src,src", source_, "Model file or directory")->required();
    app.add_option("--inputs", inputs_, "Arrays to feed: .npz with in.<name> (or <name>)")
        ->required();
    app.add_option("--out", out_, "Write the outputs here as out.<name> (.npz)");
    app.add_flag(
        "--against", against_,
        "Compare with the out.<name> arrays of --inputs: max |difference|, relative to the "
        "largest expected value, and cosine");
  }

  ExitCode Run(const GlobalOptions& global) override {
    if (out_.empty() && !against_) throw UsageError("nothing to do: give --out FILE or --against");
    const ThreadLimit threads(global.threads);
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
    const Graph graph(model);
    const Executor executor(graph);
    const auto outputs = RunModel(executor, feeds);
    if (against_) PrintComparison(outputs, expected);
    if (!out_.empty()) {
      std::map<std::string, Tensor> named;
      for (const auto& [name, tensor] : outputs) named[std::string(kOutput) + name] = tensor;
      WriteNpz(out_, named);
    }
    return ExitCode::kDone;
  }

 private:
  void PrintComparison(const std::map<std::string, Tensor>& outputs,
                       const std::map<std::string, Tensor>& expected) const {
    std::cout << std::left << std::setw(32) << "output" << std::right << std::setw(14)
              << "max |diff|" << std::setw(14) << "relative" << std::setw(16) << "cosine" << '\n';
    for (const auto& [name, tensor] : expected) {
      const auto found = outputs.find(name);
      if (found == outputs.end()) throw InputError("the model has no output '" + name + "'");
      const Difference d = Compare(found->second, tensor, name);
      const double relative = d.max_expected > 0 ? d.max_abs / d.max_expected : d.max_abs;
      std::cout << std::left << std::setw(32) << name << std::right << std::scientific
                << std::setprecision(3) << std::setw(14) << d.max_abs << std::setw(14) << relative
                << std::fixed << std::setprecision(9) << std::setw(16) << d.cosine << '\n';
    }
  }

  std::string source_, inputs_, out_;
  bool against_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeForwardCommand(CLI::App& app) {
  return std::make_unique<ForwardCommand>(app);
}

}  // namespace ptq
