// Names that branches share or shadow, and where their initializers go.
#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/graph.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::FillNode;
using testing::FillTensor;
using testing::GraphBuilder;
using testing::RandomTensor;

onnx::GraphProto& AddBody(onnx::NodeProto& node, const std::string& name) {
  return *testing::AddAttribute(node, name, onnx::AttributeProto::GRAPH).mutable_g();
}

/// y = If(flag): both branches multiply `x` by a weight of their own, under the same names.
GraphBuilder TwinBranches() {
  GraphBuilder b;
  b.Input("x", {-1, 4}).Input("flag", {}, DType::kBool);
  b.Op("If", {"flag"}, "y").Output("y", {-1, 4});
  uint32_t seed = 0;
  for (const char* name : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body = AddBody(b.last(), name);
    FillTensor(*body.add_initializer(), "w", RandomTensor({4, 4}, 1.0f, ++seed));
    FillNode(*body.add_node(), "MatMul", {"x", "w"}, {"t"});
    FillNode(*body.add_node(), "Relu", {"t"}, {"out"});
    body.add_output()->set_name("out");
    body.add_value_info()->set_name("t");
  }
  return b;
}

const onnx::GraphProto& Body(const Model& model, int node, int attribute) {
  return model.graph().node(node).attribute(attribute).g();
}

TEST(Scopes, GetNamesOfTheirOwnWhereBranchesUseTheSame) {
  const Model model = TwinBranches().Build();
  const auto& first = Body(model, 0, 0);
  const auto& second = Body(model, 0, 1);
  EXPECT_EQ(first.node(0).output(0), "t");
  EXPECT_EQ(second.node(0).output(0), "t_2");
  EXPECT_THAT(second.node(1).input(), ElementsAre("t_2"));
  EXPECT_EQ(second.output(0).name(), second.node(1).output(0));
  EXPECT_EQ(second.value_info(0).name(), "t_2");
  EXPECT_THAT(second.node(0).input(), ElementsAre("x", "w_2"));
}

TEST(Scopes, HandTheirInitializersToTheMainGraph) {
  const Model model = TwinBranches().Build();
  EXPECT_EQ(Body(model, 0, 0).initializer_size(), 0);
  ASSERT_EQ(model.graph().initializer_size(), 2);
  EXPECT_EQ(model.graph().initializer(0).name(), "w");
  EXPECT_EQ(model.graph().initializer(1).name(), "w_2");
  const Graph graph(model);
  EXPECT_NE(graph.value(graph.Find("w_2")).constant, nullptr);
}

TEST(Scopes, KeepAnInitializerThatTheyGiveOut) {
  GraphBuilder b = TwinBranches();
  onnx::GraphProto& body = *b.last().mutable_attribute(1)->mutable_g();
  body.mutable_output(0)->set_name("w");
  const Model model = b.Build();
  ASSERT_EQ(Body(model, 0, 1).initializer_size(), 1);
  EXPECT_EQ(Body(model, 0, 1).initializer(0).name(), Body(model, 0, 1).output(0).name());
}

TEST(Scopes, MayShadowAnOuterName) {
  GraphBuilder b;
  b.Input("x", {4}).Input("flag", {}, DType::kBool).Op("Neg", {"x"}, "t");
  b.Op("If", {"flag"}, "y").Output("y", {4}).Output("t", {4});
  for (const char* name : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body = AddBody(b.last(), name);
    FillNode(*body.add_node(), "Abs", {"x"}, {"t"});
    FillNode(*body.add_node(), "Relu", {"t"}, {"out"});
    body.add_output()->set_name("out");
  }
  const Model model = b.Build();
  const Graph graph(model);
  for (const int attribute : {0, 1}) {
    const auto& body = Body(model, 1, attribute);
    EXPECT_NE(body.node(0).output(0), "t");
    EXPECT_EQ(body.node(1).input(0), body.node(0).output(0));
  }
  EXPECT_EQ(graph.nodes()[size_t(graph.value(graph.Find("t")).producer)].op_type(), "Neg");
}

TEST(Scopes, OfOtherOperatorsKeepWhatTheyDefine) {
  GraphBuilder b = TwinBranches();
  b.Import("com.microsoft", 1).Op("Greedy", {"x"}, "z").Domain("com.microsoft").Output("z", {4});
  onnx::GraphProto& body = AddBody(b.last(), "decoder");
  body.add_input()->set_name("input_ids");
  FillNode(*body.add_node(), "Relu", {"input_ids"}, {"out"});
  body.add_output()->set_name("out");
  const Model model = b.Build();
  EXPECT_EQ(Body(model, 1, 0).output(0).name(), "out");
  EXPECT_NE(Body(model, 0, 0).output(0).name(), "out");  // the If's are free to change
}

}  // namespace
}  // namespace ptq
