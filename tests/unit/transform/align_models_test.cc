// Two graphs laid over each other: what they share, what is switched, and what stays outside.
#include "ptq/transform/align_models.h"

#include <algorithm>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::Declare;
using testing::FillNode;
using testing::FillTensor;
using testing::Names;

/// A model that reads x [2, 32] and gives y, both float32.
class AlignedModel {
 public:
  AlignedModel() {
    proto_.set_ir_version(10);
    auto* import = proto_.add_opset_import();
    import->set_domain("");
    import->set_version(21);
    Declare(*graph().add_input(), "x", DType::kFloat32, {2, 32});
    Declare(*graph().add_output(), "y", DType::kFloat32, {2, 32});
  }
  AlignedModel& Node(const std::string& type, const Names& inputs, const Names& outputs) {
    FillNode(*graph().add_node(), type, inputs, outputs, "node_" + outputs.front());
    return *this;
  }
  AlignedModel& Weight(const std::string& name, float value = 1) {
    FillTensor(*graph().add_initializer(), name, Tensor::Filled<float>({32, 32}, value));
    return *this;
  }
  AlignedModel& Half(const std::string& name) {
    FillTensor(*graph().add_initializer(), name,
               Tensor::Filled<float>({32, 32}, 1).Cast(DType::kFloat16));
    return *this;
  }
  /// Casts a weight of 16 bits.
  AlignedModel& Widen(const std::string& half, const std::string& name) {
    Half(half).Node("Cast", {half}, {name});
    testing::SetInt(*graph().mutable_node(graph().node_size() - 1), "to", onnx::TensorProto::FLOAT);
    return *this;
  }
  onnx::GraphProto& graph() { return *proto_.mutable_graph(); }
  const onnx::ModelProto& proto() const { return proto_; }

 private:
  onnx::ModelProto proto_;
};

std::vector<std::string> Types(const AlignedModel& model, const std::vector<int>& nodes) {
  std::vector<std::string> types;
  for (const int node : nodes) types.push_back(model.proto().graph().node(node).op_type());
  return types;
}

Alignment AlignLinear(const AlignedModel& a, const AlignedModel& b,
                      const std::unordered_map<std::string, std::string>& equal = {}) {
  return AlignModels(a.proto(), b.proto(), equal, SwitchForm::kLinear);
}

TEST(AlignModels, SwitchesOnlyTheProductWhoseWeightDiffers) {
  AlignedModel a, b;
  a.Weight("w").Node("Exp", {"x"}, {"e"}).Node("MatMul", {"e", "w"}, {"m"});
  b.Weight("v").Node("Exp", {"x"}, {"e"}).Node("MatMul", {"e", "v"}, {"m"});
  a.Node("Softmax", {"m"}, {"y"});
  b.Node("Softmax", {"m"}, {"y"});
  const Alignment found = AlignLinear(a, b);
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(Types(a, found.regions[0].nodes[0]), Names{"MatMul"});
  EXPECT_EQ(Types(b, found.regions[0].nodes[1]), Names{"MatMul"});
  EXPECT_EQ(found.regions[0].outputs, Names{"m"});
  EXPECT_EQ(found.common.size(), 2u);
}

TEST(AlignModels, FindsNothingToSwitchBetweenEqualModels) {
  AlignedModel a, b;
  a.Weight("w").Node("MatMul", {"x", "w"}, {"y"});
  b.Weight("other").Node("MatMul", {"x", "other"}, {"y"});
  const Alignment found = AlignLinear(a, b, {{"other", "w"}});
  EXPECT_TRUE(found.regions.empty());
  EXPECT_EQ(found.names.at("other"), "w");
}

TEST(AlignModels, PairsNodesWhoseInnerValuesHaveOtherNames) {
  AlignedModel a, b;
  a.Weight("w").Node("Exp", {"x"}, {"e"}).Node("Neg", {"e"}, {"n"});
  b.Weight("v").Node("Exp", {"x"}, {"p"}).Node("Neg", {"p"}, {"q"});
  a.Node("MatMul", {"n", "w"}, {"y"});
  b.Node("MatMul", {"q", "v"}, {"y"});
  const Alignment found = AlignLinear(a, b);
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(found.common.size(), 2u);
  EXPECT_EQ(found.names.at("q"), "n");
}

TEST(AlignModels, TakesSiblingsThatReadOneQuantizedActivationIntoOneRegion) {
  AlignedModel a, b;
  a.Weight("w").Node("MatMul", {"x", "w"}, {"q"}).Node("MatMul", {"x", "w"}, {"k"});
  b.Weight("v").Node("Floor", {"x"}, {"f"});
  b.Node("MatMul", {"f", "v"}, {"q"}).Node("MatMul", {"f", "v"}, {"k"});
  a.Node("Mul", {"q", "k"}, {"y"});
  b.Node("Mul", {"q", "k"}, {"y"});
  const Alignment found = AlignLinear(a, b);
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(found.regions[0].nodes[0].size(), 2u);
  EXPECT_EQ(found.regions[0].nodes[1].size(), 3u);
  EXPECT_EQ(found.regions[0].outputs, (Names{"q", "k"}));
}

TEST(AlignModels, GrowsARegionOverWhatLiesOnAWayBackIntoIt) {
  // The second model's first product feeds its second one by a node of its own, and the common Exp
  // lies between them, too.
  AlignedModel a, b;
  a.Weight("w").Node("MatMul", {"x", "w"}, {"m"}).Node("Exp", {"m"}, {"e"});
  a.Node("MatMul", {"e", "w"}, {"y"});
  b.Weight("v").Node("Floor", {"x"}, {"f"}).Node("MatMul", {"f", "v"}, {"m"});
  b.Node("Exp", {"m"}, {"e"}).Node("Sub", {"e", "f"}, {"s"}).Node("MatMul", {"s", "v"}, {"y"});
  const Alignment found = AlignLinear(a, b);
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(found.regions[0].outputs, Names{"y"});
  EXPECT_EQ(Types(a, found.regions[0].nodes[0]), (Names{"MatMul", "Exp", "MatMul"}));
  EXPECT_EQ(found.regions[0].nodes[1].size(), 5u);
  EXPECT_TRUE(found.common.empty());
}

TEST(AlignModels, KeepsABiasAndAnActivationWithTheProductThatNothingElseReads) {
  AlignedModel a, b;
  a.Weight("w").Weight("bias").Node("MatMul", {"x", "w"}, {"m"});
  b.Weight("v").Weight("bias").Node("MatMul", {"x", "v"}, {"m"});
  for (AlignedModel* model : {&a, &b}) {
    model->Node("Add", {"m", "bias"}, {"s"}).Node("Relu", {"s"}, {"r"}).Node("Exp", {"r"}, {"y"});
  }
  const Alignment found = AlignLinear(a, b, {{"bias", "bias"}});
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(Types(a, found.regions[0].nodes[0]), (Names{"MatMul", "Add", "Relu"}));
  EXPECT_EQ(found.regions[0].outputs, Names{"r"});
}

TEST(AlignModels, LeavesCastsOfLargeWeightsOutsideAndThoseInFrontOfCodesInside) {
  AlignedModel a, b;
  a.Widen("h", "w").Node("MatMul", {"x", "w"}, {"y"});
  b.Weight("codes").Weight("scale").Node("Neg", {"codes"}, {"c"});
  b.Node("DequantizeLinear", {"c", "scale"}, {"v"}).Node("MatMul", {"x", "v"}, {"y"});
  const Alignment found = AlignLinear(a, b);
  EXPECT_EQ(found.outside[0], std::unordered_set<int>{0});
  EXPECT_EQ(found.constant[1], (std::unordered_set<int>{0, 1}));
  EXPECT_TRUE(found.outside[1].empty());
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(Types(b, found.regions[0].nodes[1]), Names{"MatMul"});
}

TEST(AlignModels, DoesNotPairValuesOfOneNameAndAnotherType) {
  AlignedModel a, b;
  a.Weight("w").Node("Exp", {"x"}, {"e"}).Node("MatMul", {"e", "w"}, {"y"});
  b.Half("v").Node("Cast", {"x"}, {"e"});
  testing::SetInt(*b.graph().mutable_node(0), "to", onnx::TensorProto::FLOAT16);
  b.Node("MatMul", {"e", "v"}, {"m"}).Node("Cast", {"m"}, {"y"});
  testing::SetInt(*b.graph().mutable_node(2), "to", onnx::TensorProto::FLOAT);
  const Alignment found = AlignLinear(a, b);
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(found.regions[0].outputs, Names{"y"});
  EXPECT_EQ(found.regions[0].nodes[0].size(), 2u);
}

TEST(AlignModels, TakesEverythingButConstantsWhenTheWholeGraphIsSwitched) {
  AlignedModel a, b;
  a.Widen("h", "w").Node("Exp", {"x"}, {"e"}).Node("MatMul", {"e", "w"}, {"y"});
  b.Widen("g", "v").Node("Exp", {"x"}, {"e"}).Node("MatMul", {"e", "v"}, {"y"});
  const Alignment found = AlignModels(a.proto(), b.proto(), {{"g", "h"}}, SwitchForm::kWhole);
  ASSERT_EQ(found.regions.size(), 1u);
  EXPECT_EQ(Types(a, found.regions[0].nodes[0]), (Names{"Exp", "MatMul"}));
  ASSERT_EQ(found.common.size(), 1u);  // one Cast for both
  EXPECT_EQ(found.names.at("v"), "w");
}

TEST(SortNodes, PutsProducersInFrontAndRefusesACircle) {
  AlignedModel model;
  model.Node("Neg", {"e"}, {"y"}).Node("Exp", {"x"}, {"e"});
  SortNodes(model.graph());
  EXPECT_EQ(model.graph().node(0).op_type(), "Exp");
  model.Node("Neg", {"b"}, {"c"}).Node("Neg", {"c"}, {"b"});
  EXPECT_THROW(SortNodes(model.graph()), InputError);
}

}  // namespace
}  // namespace ptq
