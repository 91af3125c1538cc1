// Products by gathered matrices give what the nodes give, and read the stack itself.
#include <string>
#include <utility>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"
#include "ptq/runtime/run_model.h"

namespace ptq {
namespace {

constexpr int64_t kStacked = 4, kDepth = 6, kColumns = 5;

struct GatheredCase {
  const char* name;
  bool swapped = false;
  Shape x = {};
  Shape indices = {};
};

class GatheredProducts : public ::testing::TestWithParam<GatheredCase> {};
INSTANTIATE_TEST_SUITE_P(
    All, GatheredProducts,
    ::testing::Values(GatheredCase{"OneRowEach", false, {7, 1, kDepth}, {7}},
                      GatheredCase{"ManyRowsEach", false, {7, 3, kDepth}, {7}},
                      GatheredCase{"Swapped", true, {7, 1, kDepth}, {7}},
                      GatheredCase{"IndicesOfTwoDimensions", true, {3, 2, 4, kDepth}, {3, 2}},
                      GatheredCase{"OneMatrixForAll", false, {3, kDepth}, {}},
                      GatheredCase{"NoToken", true, {0, 1, kDepth}, {0}},
                      GatheredCase{"ActivationsThatAreBroadcast", false, {1, 2, kDepth}, {7}},
                      GatheredCase{"IndicesThatAreBroadcast", true, {7, 2, kDepth}, {1}}),
    [](const auto& one) { return one.param.name; });

/// x · stack[indices], its matrices transposed when they are stored so.
testing::GraphBuilder Product(const GatheredCase& one) {
  testing::GraphBuilder b;
  b.Input("x", one.x).Input("i", one.indices, DType::kInt64);
  b.Random("stack",
           one.swapped ? Shape{kStacked, kColumns, kDepth} : Shape{kStacked, kDepth, kColumns});
  b.Op("Gather", {"stack", "i"}, "picked");
  std::string operand = "picked";
  if (one.swapped) {
    b.Op("Einsum", {"picked"}, "turned");
    testing::AddAttribute(b.last(), "equation", onnx::AttributeProto::STRING).set_s("...ij->...ji");
    operand = "turned";
  }
  b.Op("MatMul", {"x", operand}, "y");
  return std::move(b.Output("y", {}));
}

TEST_P(GatheredProducts, AreThoseOfTheNodes) {
  const GatheredCase& one = GetParam();
  const Tensor x = testing::RandomTensor(one.x, 1, 3);
  Tensor indices(DType::kInt64, one.indices);
  int64_t next = -kStacked;
  for (int64_t& index : indices.mutable_data<int64_t>()) {
    index = next;
    next = next == kStacked - 1 ? -kStacked : next + 1;
  }
  testing::GraphBuilder whole = Product(one);
  const Model model = whole.Build();
  const Graph graph(model);
  const Executor executor(graph);
  const int product = graph.value(graph.Find("y")).producer;
  const auto& step = executor.plan().steps()[size_t(product)];
  EXPECT_EQ(step.inputs,
            (std::vector<ValueId>{graph.Find("x"), graph.Find("stack"), graph.Find("i")}));
  const Values got = executor.RunAll({{graph.Find("x"), x}, {graph.Find("i"), indices}});
  // With the matrices as an output they are made, and an Identity hides them from the product.
  testing::GraphBuilder apart = Product(one);
  auto& last = *apart.graph().mutable_node(apart.graph().node_size() - 1);
  const std::string operand = last.input(1);
  last.set_input(1, "hidden");
  apart.Op("Add", {operand, "zero"}, "hidden").Weight("zero", Tensor::Scalar(0.0F));
  const Model other = apart.Build();
  const Graph plain(other);
  const Executor by_nodes(plain);
  const Values want = by_nodes.RunAll({{plain.Find("x"), x}, {plain.Find("i"), indices}});
  const Tensor& a = got.at(graph.Find("y"));
  const Tensor& b = want.at(plain.Find("y"));
  ASSERT_EQ(a.shape(), b.shape());
  for (size_t i = 0; i < a.data<float>().size(); ++i) {
    EXPECT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-5);
  }
}

TEST(GatheredProduct, LeavesAMatrixOfAConstantIndexToWhoeverReplacesIt) {
  testing::GraphBuilder b;
  b.Input("x", {3, kDepth}).Random("stack", {kStacked, kDepth, kColumns});
  b.Weight("i", Tensor::Scalar<int64_t>(2)).Op("Gather", {"stack", "i"}, "picked");
  const Model model = b.Op("MatMul", {"x", "picked"}, "y").Output("y", {3, kColumns}).Build();
  const Graph graph(model);
  const Executor executor(graph);
  const int product = graph.value(graph.Find("y")).producer;
  EXPECT_EQ(executor.plan().steps()[size_t(product)].inputs, graph.inputs(product));
}

}  // namespace
}  // namespace ptq
