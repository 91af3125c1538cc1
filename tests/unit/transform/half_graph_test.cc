// Which nodes of a graph compute in FP16, what its constants become, and where the Casts stand.
#include "ptq/transform/half_graph.h"

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::IsEmpty;
using testing::OpTypes;

Plan InHalf(bool io = false) {
  Plan plan;
  plan.half = HalfCompute{io, {}};
  return plan;
}

HalfDecisions Decided(const GraphBuilder& builder, const Plan& plan = InHalf()) {
  const Model model = builder.Build();
  return PlanHalfGraph(Graph(model), plan);
}

std::vector<std::string> Islands(const HalfDecisions& decisions) {
  std::vector<std::string> values;
  for (const Island& island : decisions.islands) values.push_back(island.value);
  return values;
}

/// The written graph.
onnx::GraphProto Converted(const GraphBuilder& builder, const Plan& plan = InHalf()) {
  TransformRequest request;
  request.plan = &plan;
  EditedModel edited(builder, request);
  edited.editor().Commit();
  edited.passes().Apply(TransformStage::kCommitted);
  return edited.output().model.graph();
}

GraphBuilder Product() {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Op("MatMul", {"x", "w"}, "y").Output("y", {2, 4});
  return b;
}

TEST(HalfGraph, CastsAtTheBordersAloneAndKeepsTheirTypes) {
  const onnx::GraphProto graph = Converted(Product());
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "MatMul", "Cast"));
  EXPECT_EQ(graph.node(2).output(0), "y");
  EXPECT_EQ(graph.input(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT);
  EXPECT_EQ(graph.output(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT);
  EXPECT_EQ(Decided(Product()).constants.at("w"), "");
}

TEST(HalfGraph, ChangesTheBordersWhenAsked) {
  const onnx::GraphProto graph = Converted(Product(), InHalf(true));
  EXPECT_THAT(OpTypes(graph), ElementsAre("MatMul"));
  EXPECT_EQ(graph.input(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(graph.output(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
}

TEST(HalfGraph, KeepsAValueThatWasSeenToBeLargeAndItsReaders) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Random("v", {4, 4});
  b.Op("MatMul", {"x", "w"}, "a").Op("MatMul", {"a", "v"}, "b").Op("MatMul", {"b", "w"}, "y");
  b.Output("y", {2, 4});
  const Model model = b.Build();
  const Graph graph(model);
  Plan plan = InHalf();
  plan.half->large = {graph.Find("a")};
  const HalfDecisions decisions = PlanHalfGraph(graph, plan);
  EXPECT_THAT(Islands(decisions), ElementsAre("a", "b"));
  EXPECT_EQ(decisions.islands[0].reason, IslandReason::kLarge);
  EXPECT_FALSE(decisions.constants.at("v").empty());
}

TEST(HalfGraph, KeepsTheStatisticsOfANormInOneIsland) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Random("eps", {1}).Random("two", {1});
  b.Op("MatMul", {"x", "w"}, "h").Op("ReduceMean", {"h"}, "mean").Op("Sub", {"h", "mean"}, "d");
  b.Op("Pow", {"d", "two"}, "p").Op("ReduceMean", {"p"}, "var").Op("Add", {"var", "eps"}, "e");
  b.Op("Sqrt", {"e"}, "s").Op("Div", {"d", "s"}, "n").Op("MatMul", {"n", "w"}, "y");
  b.Output("y", {2, 4});
  EXPECT_THAT(Islands(Decided(b)), ElementsAre("mean", "d", "p", "var", "e", "s", "n"));
  // In, out, and the two borders.
  const auto types = OpTypes(Converted(b));
  EXPECT_EQ(std::ranges::count(types, "Cast"), 4);
}

TEST(HalfGraph, KeepsTheScaleAndTheBiasOfANormWithIt) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Random("gain", {4}).Random("shift", {4});
  b.Op("MatMul", {"x", "w"}, "h").Op("ReduceMean", {"h"}, "mean").Op("Sub", {"h", "mean"}, "d");
  b.Op("Mul", {"gain", "d"}, "scaled").Op("Add", {"scaled", "shift"}, "n");
  b.Op("MatMul", {"n", "w"}, "y").Output("y", {2, 4});
  const HalfDecisions decisions = Decided(b);
  EXPECT_THAT(Islands(decisions), ElementsAre("mean", "d", "scaled", "n"));
  EXPECT_EQ(decisions.islands[3].reason, IslandReason::kNorm);
  EXPECT_FALSE(decisions.constants.at("gain").empty());
  EXPECT_FALSE(decisions.constants.at("shift").empty());
  // In, out, and the two borders: as many as without them.
  const auto types = OpTypes(Converted(b));
  EXPECT_EQ(std::ranges::count(types, "Cast"), 4);
}

TEST(HalfGraph, HalvesASumThatANormReadsAlone) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Op("MatMul", {"x", "w"}, "a").Op("Relu", {"a"}, "b");
  b.Op("Add", {"a", "b"}, "sum").Op("ReduceMean", {"sum"}, "mean").Op("Sub", {"sum", "mean"}, "n");
  b.Op("MatMul", {"n", "w"}, "y").Output("y", {2, 4});
  EXPECT_THAT(Islands(Decided(b)), ElementsAre("mean", "n"));
}

TEST(HalfGraph, HalvesWhatOneMultipliesByOtherwise) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Random("gain", {4});
  b.Op("MatMul", {"x", "w"}, "h").Op("Mul", {"h", "gain"}, "y").Output("y", {2, 4});
  EXPECT_THAT(Islands(Decided(b)), IsEmpty());
  EXPECT_EQ(Decided(b).constants.at("gain"), "");
}

TEST(HalfGraph, KeepsResidualSumsBetweenNormsWithoutMoreCasts) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Op("MatMul", {"x", "w"}, "x0");
  std::string stream = "x0";
  for (const std::string i : {"1", "2"}) {
    b.Op("ReduceMean", {stream}, "mean" + i).Op("Sub", {stream, "mean" + i}, "n" + i);
    b.Op("MatMul", {"n" + i, "w"}, "f" + i).Op("Add", {stream, "f" + i}, "x" + i);
    stream = "x" + i;
  }
  b.Op("ReduceMean", {stream}, "mean3").Op("Sub", {stream, "mean3"}, "n3");
  b.Op("MatMul", {"n3", "w"}, "y").Output("y", {2, 4});
  EXPECT_THAT(Islands(Decided(b)),
              ElementsAre("mean1", "n1", "x1", "mean2", "n2", "x2", "mean3", "n3"));
  // The borders, the first of the stream, and for each block what it reads and what it gives.
  const auto types = OpTypes(Converted(b));
  EXPECT_EQ(std::ranges::count(types, "Cast"), 2 + 1 + 2 * 2 + 1);
}

/// next = Relu(state + something), for a Loop or a Scan that keeps every state.
onnx::GraphProto Body(bool loop) {
  onnx::GraphProto body;
  body.set_name("body");
  if (loop) {
    testing::Declare(*body.add_input(), "count", DType::kInt64, {});
    testing::Declare(*body.add_input(), "go", DType::kBool, {});
  }
  testing::Declare(*body.add_input(), "state", DType::kFloat32, {4});
  if (!loop) testing::Declare(*body.add_input(), "row", DType::kFloat32, {4});
  testing::FillNode(*body.add_node(), "Add", {"state", loop ? "bias" : "row"}, {"sum"});
  testing::FillNode(*body.add_node(), "Relu", {"sum"}, {"next"});
  if (loop) {
    testing::FillNode(*body.add_node(), "Identity", {"go"}, {"go_on"});
    testing::Declare(*body.add_output(), "go_on", DType::kBool, {});
  }
  testing::FillNode(*body.add_node(), "Identity", {"next"}, {"kept"});
  testing::Declare(*body.add_output(), "next", DType::kFloat32, {4});
  testing::Declare(*body.add_output(), "kept", DType::kFloat32, {4});
  return body;
}

/// The types of a body's floats: state and, of a Scan, row; then the outputs.
std::vector<int> FloatTypes(const onnx::GraphProto& body) {
  std::vector<int> types;
  for (const auto* infos : {&body.input(), &body.output()}) {
    for (const auto& info : *infos) {
      const int type = info.type().tensor_type().elem_type();
      if (type != onnx::TensorProto::INT64 && type != onnx::TensorProto::BOOL)
        types.push_back(type);
    }
  }
  return types;
}

TEST(HalfGraph, GivesWhatALoopCarriesOneType) {
  GraphBuilder b;
  b.Input("x", {4}).Input("n", {}, DType::kInt64).Input("c", {}, DType::kBool);
  b.Random("bias", {4}).Op("Relu", {"x"}, "start").Op("Loop", {"n", "c", "start"}, "y");
  b.last().add_output("all");
  *testing::AddAttribute(b.last(), "body", onnx::AttributeProto::GRAPH).mutable_g() = Body(true);
  b.Output("y", {4}).Output("all", {3, 4});
  const onnx::GraphProto graph = Converted(b);
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "Relu", "Loop", "Cast", "Cast"));
  const onnx::GraphProto& body = graph.node(2).attribute(0).g();
  EXPECT_THAT(FloatTypes(body), ::testing::Each(int(onnx::TensorProto::FLOAT16)));
  EXPECT_THAT(OpTypes(body), ElementsAre("Add", "Relu", "Identity", "Identity"));
}

TEST(HalfGraph, KeepsAStateInFp32WhereTheBodyHasTo) {
  GraphBuilder b;
  b.Input("x", {4}).Input("rows", {3, 4}).Op("Relu", {"x"}, "start");
  b.Op("Relu", {"rows"}, "halves").Op("Scan", {"start", "halves"}, "y").Int("num_scan_inputs", 1);
  b.last().add_output("all");
  auto& body = *testing::AddAttribute(b.last(), "body", onnx::AttributeProto::GRAPH).mutable_g();
  body = Body(false);
  body.mutable_node(1)->set_op_type("Softmax");
  b.Output("y", {4}).Output("all", {3, 4});
  const onnx::GraphProto graph = Converted(b);
  for (const auto& node : graph.node()) {
    if (node.op_type() != "Scan") continue;
    for (const auto& attribute : node.attribute()) {
      if (!attribute.has_g()) continue;
      // Softmax is an island, and what it gives and takes joins it, where Casts would be as many.
      EXPECT_THAT(OpTypes(attribute.g()), ::testing::Contains("Softmax"));
      const auto types = FloatTypes(attribute.g());
      ASSERT_EQ(types.size(), 4u);
      EXPECT_EQ(types[0], types[2]);  // the state, in and out
    }
  }
}

TEST(HalfGraph, PassesOverCastsBetweenFloats) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Op("MatMul", {"x", "w"}, "a");
  b.Op("Cast", {"a"}, "c");
  SetInt(b.last(), "to", onnx::TensorProto::FLOAT);
  b.Op("MatMul", {"c", "w"}, "y").Output("y", {2, 4});
  EXPECT_THAT(OpTypes(Converted(b)), ElementsAre("Cast", "MatMul", "MatMul", "Cast"));
}

TEST(HalfGraph, GivesTheOutputOfAnIfOneTypeInBothBranches) {
  const onnx::GraphProto graph = Converted(testing::WithBranches());
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "If", "Cast"));
  for (const auto& attribute : graph.node(1).attribute()) {
    EXPECT_EQ(attribute.g().output(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  }
}

TEST(HalfGraph, KeepsWhatNoSchemaKnows) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Op("Mystery", {"x"}, "y").Output("y", {2, 4});
  b.last().set_domain("my.domain");
  EXPECT_THAT(Decided(b).halved, IsEmpty());
  EXPECT_THAT(OpTypes(Converted(b)), ElementsAre("Mystery"));
  ASSERT_THAT(Islands(Decided(b)), ElementsAre("y"));
  EXPECT_EQ(Decided(b).islands[0].reason, IslandReason::kUnknown);
}

TEST(HalfGraph, SaysOfWhichOperatorsTheSchemaHasNoFp16) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Op("DynamicQuantizeLinear", {"x"}, "codes").Output("codes", {2, 4});
  b.last().add_output("scale");
  b.last().add_output("zero");
  const HalfDecisions decisions = Decided(b);
  ASSERT_THAT(Islands(decisions), ElementsAre("codes"));
  EXPECT_EQ(decisions.islands[0].reason, IslandReason::kImpossible);
}

TEST(HalfGraph, DoesNothingUnlessAsked) {
  EXPECT_THAT(OpTypes(Converted(Product(), Plan())), ElementsAre("MatMul"));
}

}  // namespace
}  // namespace ptq
