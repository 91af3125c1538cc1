// A block of a model, its plan, and an output model over it whose result is compared with the
// source.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "emit_testing.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/emit/output_model.h"
#include "ptq/runtime/run_model.h"

namespace ptq::testing {

inline constexpr int64_t kWidth = 64;

/// LayerNorm → up, gate; x = up · Sigmoid(gate) → down (with a bias between up and the product),
/// and a tied table that is looked up and multiplied with at the end.
inline ModelBuilder Block(int64_t opset = 17) {
  ModelBuilder builder(opset);
  builder.Input("x", {3, kWidth})
      .Random("gain", {kWidth})
      .Random("shift_of_norm", {kWidth})
      .Random("model.up.weight", {kWidth, 96})
      .Random("model.gate.weight_t", {kWidth, 96})
      .Random("up.bias.long", {96})
      .Random("model.down.weight.x", {96, kWidth})
      .Random("model.last.weight.xyz", {kWidth, 32})
      .Node("LayerNormalization", {"x", "gain", "shift_of_norm"}, "normed")
      .Node("MatMul", {"normed", "model.up.weight"}, "up0")
      .Node("Add", {"up0", "up.bias.long"}, "up")
      .Node("MatMul", {"normed", "model.gate.weight_t"}, "gate")
      .Node("Sigmoid", {"gate"}, "act")
      .Node("Mul", {"up", "act"}, "inner")
      .Node("MatMul", {"inner", "model.down.weight.x"}, "down")
      .Node("Add", {"down", "x"}, "residual")
      .Node("MatMul", {"residual", "model.last.weight.xyz"}, "y")
      .Info("up0", {3, 96})
      .Info("normed", {3, kWidth})
      .Output("y", {3, 32});
  return builder;
}

inline Tensor Input() {
  Tensor x(DType::kFloat32, {3, kWidth});
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  for (float& value : x.mutable_data<float>()) value = normal(random);
  return x;
}

/// How the linears are written, and whether everything else becomes FP16.
struct Wanted {
  std::string form = "matmulnbits";
  int accuracy_level = 0;
  bool half_floats = false;
};

/// Everything that a test needs of one source model, and the edited one.
class Emission {
 public:
  Emission(const onnx::ModelProto& proto, const Wanted& wanted, Precision head = Precision::kKeep,
           int bits = 4)
      : model_(Write(source_, proto)), graph_(model_), executor_(graph_) {
    PlanOptions plan_options;
    plan_options.codes = &FindLinearForm(wanted.form);
    plan_options.parameters = {{bits, 32, true, ScaleType::kFloat32}, wanted.accuracy_level};
    plan_options.head = head;
    plan_options.half_floats = wanted.half_floats;
    plan_ = MakePlan(executor_.plan(), plan_options);
    output_.emplace(graph_, plan_, destination_.path(), OutputFiles());
  }
  static Model Write(const TempDirectory& directory, const onnx::ModelProto& proto) {
    return Model::Load(directory.Write("model.onnx", proto.SerializeAsString()));
  }

  [[nodiscard]] const Site& SiteOf(const std::string& name) const {
    for (const Site& site : plan_.sites) {
      if (graph_.value(site.value).name == name) return site;
    }
    throw std::runtime_error("no site " + name);
  }

  /// A bias for every quantized linear.
  [[nodiscard]] std::vector<std::pair<int, std::vector<float>>> Biases() const {
    std::vector<std::pair<int, std::vector<float>>> biases;
    for (size_t i = 0; i < plan_.linears.size(); ++i) {
      if (!plan_.linears[i].decision.quantizes()) continue;
      std::vector<float> bias;
      for (int64_t n = 0; n < plan_.linears[i].n; ++n) bias.push_back(float(n % 5) - 1.5f);
      biases.emplace_back(int(i), std::move(bias));
    }
    return biases;
  }

  /// Random codes for every linear. `columns` divides the weight that they mean, as a scaled site
  /// does; `rows` goes into the scales only.
  void QuantizeAll(const std::map<std::string, std::vector<float>>& columns = {},
                   const std::map<std::string, std::vector<float>>& rows = {}) {
    std::mt19937 random(11);
    for (const Linear& linear : plan_.linears) {
      if (!linear.decision.quantizes()) continue;
      auto q = RandomMatrix(linear.n, linear.k, linear.spec().bits, 32, true, random);
      Tensor weight(DType::kFloat32, {linear.k, linear.n});
      const auto values = weight.mutable_data<float>();
      const std::string& node = graph_.nodes()[size_t(linear.node)].output(0);
      for (int64_t n = 0; n < linear.n; ++n) {
        for (int64_t k = 0; k < linear.k; ++k) {
          float value = WeightOf(q, n, k);
          if (columns.contains(node)) value /= columns.at(node)[size_t(k)];
          values[size_t(k * linear.n + n)] = value;
        }
      }
      overrides_[linear.operand] = weight;
      if (rows.contains(node)) {
        const int64_t groups = q.spec.GroupsFor(q.k);
        for (int64_t i = 0; i < linear.n * groups; ++i) {
          q.scales[size_t(i)] /= rows.at(node)[size_t(i / groups)];
        }
      }
      bytes_[linear.name] = output_->Quantize(linear, q);
    }
  }

  /// Loads the result, and compares it with the source on the weights that the codes mean.
  void FinishAndCompare(float tolerance = 1e-5f) {
    output_->Finish();
    output_.reset();
    const Model result = Model::Load(destination_.path());
    proto_ = result.proto();
    const Graph graph(result);
    const Executor executor(graph);
    const Tensor actual = RunModel(executor, {{"x", Input()}}).at("y");
    const auto values = executor_.RunAll({{graph_.Find("x"), Input()}}, overrides_);
    const Tensor expected = values.at(graph_.Find("y"));
    ASSERT_EQ(actual.shape(), expected.shape());
    float largest = 0, difference = 0;
    for (int64_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(expected.data<float>()[size_t(i)]));
      difference = std::max(difference, std::abs(expected.data<float>()[size_t(i)] -
                                                 actual.data<float>()[size_t(i)]));
    }
    EXPECT_GT(largest, 0.0f);
    EXPECT_LE(difference, tolerance * largest);
  }

  TempDirectory source_, destination_;
  Model model_;
  Graph graph_;
  Executor executor_;
  Plan plan_;
  std::optional<OutputModel> output_;
  Values overrides_;
  std::map<std::string, int64_t> bytes_;
  onnx::ModelProto proto_;  ///< the result
};

/// Powers of two, which divide exactly.
inline std::vector<float> Powers(int64_t count) {
  std::vector<float> scale;
  for (int64_t i = 0; i < count; ++i) scale.push_back(std::exp2(float(i % 5 - 2)));
  return scale;
}

}  // namespace ptq::testing
