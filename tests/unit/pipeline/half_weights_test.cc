// Whoever reads a weight that is stored as FP16 sees it rounded.
#include "half_weights.h"

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/half.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

/// The value of `y` with the weight of the only linear rounded, and with all weights rounded
/// before.
void ExpectRounded(const GraphBuilder& builder, const GraphBuilder& rounded, const Tensor& x) {
  const Model model = builder.Build();
  const Graph graph(model);
  const Executor executor(graph);
  const Plan plan = MakePlan(executor.plan(), {});
  ASSERT_EQ(plan.linears.size(), 1u);
  const Segment& segment = executor.plan().segments().front();
  const Job job = executor.MakeJob(segment, {graph.Find("y")}, {});
  Values overrides;
  DeferredWeights deferred;
  AddHalfWeights(executor, job, plan.linears, overrides, deferred);
  EXPECT_EQ(overrides.size() + deferred.size(), 1u);
  const Values found = executor.RunOnce(job, overrides, deferred, {{graph.Find("x"), x}});
  const Model other = rounded.Build();
  const Graph other_graph(other);
  const Executor other_executor(other_graph);
  const Values expected = other_executor.RunAll({{other_graph.Find("x"), x}});
  const auto actual = found.at(graph.Find("y")).data<float>();
  const auto wanted = expected.at(other_graph.Find("y")).data<float>();
  ASSERT_EQ(actual.size(), wanted.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], wanted[i], 2e-6) << i;
}

Tensor Rounded(const Tensor& weight) {
  Tensor rounded = weight;
  const auto values = rounded.mutable_data<float>();
  RoundToHalf(values, values);
  return rounded;
}

GraphBuilder Product(const Tensor& weight) {
  GraphBuilder b;
  b.Input("x", {3, 64}).Output("y", {3, 32}).Weight("w", weight).Op("MatMul", {"x", "w"}, "y");
  return b;
}

GraphBuilder ProductOfFolded(const Tensor& weight) {
  GraphBuilder b;
  b.Input("x", {3, 64}).Output("y", {3, 32}).Weight("w", weight);
  b.Op("Transpose", {"w"}, "t").Ints("perm", {1, 0}).Op("MatMul", {"x", "t"}, "y");
  return b;
}

TEST(HalfWeights, StandForAProductsConstant) {
  const Tensor weight = testing::RandomTensor({64, 32}, 1.0f, 3);
  ExpectRounded(Product(weight), Product(Rounded(weight)), testing::RandomTensor({3, 64}, 1, 4));
}

/// A bias that 60 sums of a value with itself make: by 2^60 ways from the first.
GraphBuilder ProductAndDiamonds(const Tensor& weight) {
  GraphBuilder b;
  b.Input("x", {3, 64}).Output("y", {3, 32}).Weight("w", weight);
  b.Weight("c0", testing::RandomTensor({32}, 1e-18f, 5));
  for (int i = 0; i < 60; ++i) {
    const std::string from = "c" + std::to_string(i);
    b.Op("Add", {from, from}, "c" + std::to_string(i + 1));
  }
  return b.Op("MatMul", {"x", "w"}, "p").Op("Add", {"p", "c60"}, "y");
}

TEST(HalfWeights, AreFoundAmongConstantsOfManyWays) {
  const Tensor weight = testing::RandomTensor({64, 32}, 1.0f, 3);
  ExpectRounded(ProductAndDiamonds(weight), ProductAndDiamonds(Rounded(weight)),
                testing::RandomTensor({3, 64}, 1, 4));
}

TEST(HalfWeights, StandForWhatIsFoldedFromThem) {
  const Tensor weight = testing::RandomTensor({32, 64}, 1.0f, 3);
  ExpectRounded(ProductOfFolded(weight), ProductOfFolded(Rounded(weight)),
                testing::RandomTensor({3, 64}, 1, 4));
}

}  // namespace
}  // namespace ptq
