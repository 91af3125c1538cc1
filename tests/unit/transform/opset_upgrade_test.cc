// An upgraded model computes what it did, and a node that cannot be moved is named.
#include "ptq/transform/opset_upgrade.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/runtime/run_model.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::HasSubstr;
using testing::OpTypes;

std::vector<float> Run(const onnx::ModelProto& proto, const Shape& shape) {
  const Model model = Model::FromProto(proto);
  const Graph graph(model);
  const Executor executor(graph);
  Tensor x(DType::kFloat32, shape);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (float& value : x.mutable_data<float>()) value = normal(random);
  const auto outputs = RunModel(executor, {{"x", x}});
  const auto y = outputs.at("y").data<float>();
  return {y.begin(), y.end()};
}

/// Upgrades the model and checks that it computes what it did.
onnx::ModelProto UpgradedAndEqual(const onnx::ModelProto& proto, const Shape& shape) {
  onnx::ModelProto upgraded = proto;
  UpgradeOpset(upgraded, "the test");
  EXPECT_EQ(upgraded.opset_import(0).version(), 21);
  EXPECT_EQ(Run(upgraded, shape), Run(proto, shape));
  return upgraded;
}

TEST(UpgradeOpset, TurnsAxesIntoInputs) {
  for (const std::string type : {"ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"}) {
    const auto proto = GraphBuilder(11)
                           .Input("x", {2, 3, 4})
                           .Op(type, {"x"}, "y")
                           .Ints("axes", {1})
                           .Int("keepdims", 0)
                           .Output("y", {2, 4})
                           .proto();
    const auto upgraded = UpgradedAndEqual(proto, {2, 3, 4});
    EXPECT_EQ(upgraded.graph().node(0).input_size(), 2) << type;
    EXPECT_EQ(upgraded.graph().node(0).attribute_size(), 1) << type;
  }
}

TEST(UpgradeOpset, LeavesReducesOverEverythingAlone) {
  const auto proto = GraphBuilder(13)
                         .Input("x", {2, 3})
                         .Op("ReduceMean", {"x"}, "y")
                         .Int("keepdims", 0)
                         .Output("y", {})
                         .proto();
  EXPECT_EQ(UpgradedAndEqual(proto, {2, 3}).graph().node(0).input_size(), 1);
}

TEST(UpgradeOpset, RewritesSqueezeUnsqueezeAndSplit) {
  auto builder = GraphBuilder(11);
  builder.Input("x", {1, 2, 6})
      .Op("Squeeze", {"x"}, "a")
      .Ints("axes", {0})
      .Op("Unsqueeze", {"a"}, "b")
      .Ints("axes", {1, 3})
      .Op("Split", {"b"}, "c")
      .Int("axis", 2)
      .Ints("split", {2, 4});
  builder.last().add_output("d");
  builder.Op("Split", {"d"}, "e").Int("axis", 2);
  builder.last().add_output("y");
  const auto proto = builder.Output("y", {2, 1, 2, 1}).proto();
  const auto upgraded = UpgradedAndEqual(proto, {1, 2, 6});
  EXPECT_EQ(testing::IntOf(upgraded.graph().node(3), "num_outputs"), 2);
}

TEST(UpgradeOpset, KeepsSoftmaxOverTheLastAxisOneNode) {
  const auto proto = GraphBuilder(11)
                         .Input("x", {2, 3, 4})
                         .Op("Softmax", {"x"}, "y")
                         .Int("axis", 2)
                         .Output("y", {2, 3, 4})
                         .proto();
  const auto upgraded = UpgradedAndEqual(proto, {2, 3, 4});
  EXPECT_THAT(OpTypes(upgraded.graph()), ElementsAre("Softmax"));
  EXPECT_EQ(testing::IntOf(upgraded.graph().node(0), "axis"), -1);
}

TEST(UpgradeOpset, FindsTheRankOfAttentionScoresThroughTheGraph) {
  // The exporters' pattern: Reshape and Transpose give the rank away, no declaration does.
  auto builder = GraphBuilder(12);
  builder.Input("x", {2, 3, 8}).Random("mask", {1, 1, 1, 3});
  auto* shape = builder.proto().mutable_graph()->add_initializer();
  shape->set_name("shape");
  shape->set_data_type(onnx::TensorProto::INT64);
  shape->add_dims(4);
  for (const int64_t dim : {2, 3, 2, 4}) shape->add_int64_data(dim);
  builder.Op("Reshape", {"x", "shape"}, "heads")
      .Op("Transpose", {"heads"}, "q")
      .Ints("perm", {0, 2, 1, 3})
      .Op("Transpose", {"heads"}, "k")
      .Ints("perm", {0, 2, 3, 1})
      .Op("MatMul", {"q", "k"}, "product")
      .Op("Add", {"product", "mask"}, "scores")
      .Op("Softmax", {"scores"}, "y")
      .Int("axis", 3)
      .Output("y", {2, 2, 3, 3});
  builder.proto()
      .mutable_graph()
      ->mutable_output(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->clear_shape();
  const auto upgraded = UpgradedAndEqual(builder.proto(), {2, 3, 8});
  EXPECT_EQ(upgraded.graph().node_size(), 6);
}

TEST(UpgradeOpset, RewritesSoftmaxOverSeveralAxesWithFlatten) {
  // Before opset 13 the default axis 1 meant: over all dimensions from the second on.
  const auto proto = GraphBuilder(11)
                         .Input("x", {2, 3, 4})
                         .Op("Softmax", {"x"}, "y")
                         .Output("y", {2, 3, 4})
                         .proto();
  const auto upgraded = UpgradedAndEqual(proto, {2, 3, 4});
  EXPECT_THAT(OpTypes(upgraded.graph()), ElementsAre("Shape", "Flatten", "Softmax", "Reshape"));
}

TEST(UpgradeOpset, LeavesNewModelsAlone) {
  const auto proto = GraphBuilder(22).Input("x", {2}).Op("Relu", {"x"}, "y").proto();
  onnx::ModelProto copy = proto;
  UpgradeOpset(copy, "the test");
  EXPECT_EQ(copy.SerializeAsString(), proto.SerializeAsString());
}

TEST(UpgradeOpset, GoesIntoSubgraphs) {
  auto builder = GraphBuilder(13);
  builder.Input("x", {2, 3}).Op("If", {"condition"}, "y");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto* attribute = builder.last().add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::GRAPH);
    GraphBuilder branch(13);
    branch.Op("ReduceMean", {"x"}, std::string(name) + "_out").Ints("axes", {1});
    *attribute->mutable_g() = branch.proto().graph();
  }
  onnx::ModelProto proto = builder.proto();
  UpgradeOpset(proto, "the test");
  for (const auto& attribute : proto.graph().node(0).attribute()) {
    EXPECT_EQ(attribute.g().node(0).input_size(), 2);
    EXPECT_EQ(attribute.g().initializer_size(), 1);
  }
}

std::string Refusal(onnx::ModelProto proto) {
  const std::string before = proto.SerializeAsString();
  try {
    UpgradeOpset(proto, "the QDQ format");
  } catch (const UnsupportedError& error) {
    EXPECT_EQ(proto.SerializeAsString(), before) << "a refusal leaves the model as it was";
    return error.what();
  }
  return "";
}

TEST(UpgradeOpset, NamesTheNodeThatCannotBeMoved) {
  for (const auto& [opset, type] : {std::pair<int64_t, std::string>{10, "Clip"},
                                    {10, "Resize"},
                                    {9, "Upsample"},
                                    {20, "GroupNormalization"},
                                    {19, "GridSample"},
                                    {20, "OperatorOfTheFuture"}}) {
    const auto message =
        Refusal(GraphBuilder(opset).Op("Relu", {"x"}, "a").Op(type, {"a"}, "y", "y_node").proto());
    EXPECT_THAT(message, HasSubstr("y_node"));
    EXPECT_THAT(message, HasSubstr(type));
    EXPECT_THAT(message, HasSubstr("the QDQ format"));
  }
}

TEST(UpgradeOpset, RefusesModelsOlderThanBroadcasting) {
  EXPECT_THAT(Refusal(GraphBuilder(6).Op("Add", {"x", "x"}, "y").proto()), HasSubstr("opset 6"));
}

TEST(UpgradeOpset, DropsTheRatioOfAnInferenceDropoutButNotItsMask) {
  GraphBuilder plain(11);
  plain.Op("Dropout", {"x"}, "y");
  auto* ratio = plain.last().add_attribute();
  ratio->set_name("ratio");
  ratio->set_f(0.1f);
  onnx::ModelProto proto = plain.proto();
  UpgradeOpset(proto, "the test");
  EXPECT_EQ(proto.graph().node(0).attribute_size(), 0);
  plain.last().add_output("mask");
  EXPECT_THAT(Refusal(plain.proto()), HasSubstr("Dropout"));
}

TEST(UpgradeOpset, LeavesOtherDomainsAlone) {
  GraphBuilder builder(11);
  builder.Op("Softmax", {"x"}, "y");
  builder.last().set_domain("com.example");
  onnx::ModelProto proto = builder.proto();
  UpgradeOpset(proto, "the test");
  EXPECT_EQ(proto.graph().node(0).SerializeAsString(), builder.last().SerializeAsString());
}

}  // namespace
}  // namespace ptq
