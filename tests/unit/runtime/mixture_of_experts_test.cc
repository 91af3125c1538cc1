// The plain nodes that a MoE is spelled out to compute what the operator's kernel does.
#include <string>
#include <vector>

#include "support/kernel_testing.h"
#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"
#include "ptq/runtime/run_model.h"

namespace ptq {
namespace {

constexpr int64_t kExperts = 5, kTokens = 7, kWidth = 8, kInner = 6;

struct Mixture {
  std::string activation;
  int64_t normalize = 0;
  bool bias = true;
  int64_t opset = 17;
};

Shape UpShape(const Mixture& m) {
  return {kExperts, m.activation == "swiglu" ? 2 * kInner : kInner, kWidth};
}

testing::GraphBuilder Build(const Mixture& m) {
  testing::GraphBuilder b(m.opset);
  const Shape up = UpShape(m);
  b.Import("com.microsoft", 1).Input("x", {1, kTokens, kWidth}).Input("r", {kTokens, kExperts});
  b.Random("up", up).Random("down", {kExperts, kWidth, kInner});
  b.Random("up_bias", {kExperts, up[1]}).Random("down_bias", {kExperts, kWidth});
  b.Op("MoE", {"x", "r", "up", m.bias ? "up_bias" : "", "down", m.bias ? "down_bias" : ""}, "y");
  b.Domain("com.microsoft").Int("k", 2).Int("normalize_routing_weights", m.normalize);
  auto& name = testing::AddAttribute(b.last(), "activation_type", onnx::AttributeProto::STRING);
  name.set_s(m.activation);
  if (m.activation == "swiglu") {
    b.Int("swiglu_fusion", 1);
    for (const auto& [key, value] : {std::pair<std::string, float>{"swiglu_limit", 0.5F},
                                     {"activation_alpha", 1.7F},
                                     {"activation_beta", 1.0F}}) {
      testing::AddAttribute(b.last(), key, onnx::AttributeProto::FLOAT).set_f(value);
    }
  }
  return b.Output("y", {1, kTokens, kWidth});
}

Tensor ByKernel(const Mixture& m, const Executor& executor, const Tensor& x, const Tensor& r) {
  testing::OpTest op("MoE", 1, "com.microsoft");
  op.Int("k", 2).Int("normalize_routing_weights", m.normalize);
  op.String("activation_type", m.activation);
  if (m.activation == "swiglu") {
    op.Int("swiglu_fusion", 1).Float("swiglu_limit", 0.5F);
    op.Float("activation_alpha", 1.7F).Float("activation_beta", 1.0F);
  }
  const auto constant = [&](const std::string& name) {
    return executor.LoadConstant(executor.graph().Find(name));
  };
  return op.Run({x, r, constant("up"), m.bias ? constant("up_bias") : Tensor(), constant("down"),
                 m.bias ? constant("down_bias") : Tensor()});
}

TEST(MixtureOfExperts, ComputesSpelledOutWhatTheOperatorDoes) {
  const Tensor x = testing::RandomTensor({1, kTokens, kWidth}, 2.0F, 3);
  const Tensor r = testing::RandomTensor({kTokens, kExperts}, 2.0F, 4);
  for (const std::string activation : {"relu", "silu", "gelu", "swiglu"}) {
    for (const int64_t normalize : {0, 1}) {
      for (const bool bias : {true, false}) {
        SCOPED_TRACE(activation + (normalize != 0 ? ", normalized" : "") + (bias ? ", bias" : ""));
        const Mixture mixture{activation, normalize, bias};
        const Model model = Build(mixture).Build();
        ASSERT_EQ(model.spelled_out().size(), 1);
        const Graph graph(model);
        const Executor executor(graph);
        const Tensor y = RunModel(executor, {{"x", x}, {"r", r}}).at("y");
        testing::ExpectEqual(y, ByKernel(mixture, executor, x, r), 1e-5F);
      }
    }
  }
}

TEST(MixtureOfExperts, OfAnotherKindStaysANode) {
  EXPECT_TRUE(Build({"identity"}).Build().spelled_out().empty());
  EXPECT_TRUE(Build({"silu", 0, true, 15}).Build().spelled_out().empty()) << "ScatterND adds not";
  testing::GraphBuilder mixed = Build({"silu"});
  mixed.Int("use_sparse_mixer", 1);
  EXPECT_TRUE(mixed.Build().spelled_out().empty());
}

}  // namespace
}  // namespace ptq
