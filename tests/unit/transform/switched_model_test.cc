// One model made of two: the input that chooses, where weights are, and what is refused.
#include "ptq/transform/switched_model.h"

#include <algorithm>
#include <string>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::FillNode;
using testing::FillTensor;

onnx::ModelProto Product(float value, int64_t width = 32, int64_t opset = 17) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  auto* import = model.add_opset_import();
  import->set_version(opset);
  auto& graph = *model.mutable_graph();
  testing::Declare(*graph.add_input(), "x", DType::kFloat32, {-1, width});
  testing::Declare(*graph.add_output(), "y", DType::kFloat32, {-1, width});
  FillTensor(*graph.add_initializer(), "w", Tensor::Filled<float>({width, width}, value));
  FillNode(*graph.add_node(), "MatMul", {"x", "w"}, {"y"}, "product");
  return model;
}

onnx::ModelProto Switched(const onnx::ModelProto& a, const onnx::ModelProto& b,
                          const SwitchOptions& options = {}) {
  return MakeSwitched(a, b, AlignModels(a, b, {}, SwitchForm::kLinear), options);
}

const onnx::NodeProto& OnlyIf(const onnx::ModelProto& model) {
  return *std::ranges::find(model.graph().node(), "If", &onnx::NodeProto::op_type);
}

TEST(MakeSwitched, HasAnInputWithADefaultWhoseFirstValueIsTheFirstModel) {
  SwitchOptions options;
  options.input = "quality";
  options.names = {"one", "two"};
  options.default_model = 1;
  const onnx::ModelProto model = Switched(Product(1), Product(2), options);
  const auto& input = model.graph().input(1);
  EXPECT_EQ(input.name(), "quality");
  EXPECT_EQ(input.type().tensor_type().elem_type(), onnx::TensorProto::INT64);
  EXPECT_EQ(input.type().tensor_type().shape().dim_size(), 0);
  const auto& tensors = model.graph().initializer();
  const auto found = std::ranges::find(tensors, "quality", &onnx::TensorProto::name);
  ASSERT_NE(found, tensors.end());
  EXPECT_EQ(found->raw_data(), std::string("\1\0\0\0\0\0\0\0", 8));
  const onnx::NodeProto& node = OnlyIf(model);
  EXPECT_EQ(FindAttribute(node, "else_branch")->g().node(0).input(1), "w");
  EXPECT_EQ(FindAttribute(node, "then_branch")->g().node(0).input(1), "w_2");
}

TEST(MakeSwitched, KeepsLargeWeightsInTheOuterGraphAndGivesSmallOnesToTheBranches) {
  EXPECT_EQ(Switched(Product(1, 32), Product(2, 32)).graph().initializer_size(), 3);
  const onnx::ModelProto small = Switched(Product(1, 4), Product(2, 4));
  EXPECT_EQ(small.graph().initializer_size(), 1);
  EXPECT_EQ(FindAttribute(OnlyIf(small), "then_branch")->g().initializer_size(), 1);
}

TEST(CheckSwitchable, NamesWhatDiffers) {
  const onnx::ModelProto model = Product(1);
  EXPECT_NO_THROW(CheckSwitchable(model, Product(2), "precision"));
  EXPECT_THROW(CheckSwitchable(model, Product(2, 16), "precision"), UnsupportedError);
  EXPECT_THROW(CheckSwitchable(model, Product(2), "x"), UsageError);
  onnx::ModelProto other = Product(2);
  other.mutable_graph()->mutable_output(0)->set_name("x");
  EXPECT_THROW(CheckSwitchable(model, other, "precision"), UnsupportedError);
}

TEST(CheckSwitchable, RefusesAnOutputThatNoNodeMakes) {
  onnx::ModelProto a = Product(1), b = Product(2);
  for (onnx::ModelProto* model : {&a, &b}) {
    testing::Declare(*model->mutable_graph()->add_output(), "x", DType::kFloat32, {-1, 32});
  }
  EXPECT_THROW(CheckSwitchable(a, b, "precision"), UnsupportedError);
}

TEST(UnifyVersions, RaisesTheOlderModelWhereItsOperatorsMeanTheSame) {
  onnx::ModelProto a = Product(1, 32, 13), b = Product(2, 32, 21);
  b.set_ir_version(10);
  UnifyVersions(a, b);
  EXPECT_EQ(OpsetOf(a, ""), 21);
  EXPECT_EQ(a.ir_version(), 10);
}

TEST(UnifyVersions, RefusesAnOperatorThatMeansSomethingElse) {
  onnx::ModelProto a = Product(1, 32, 11), b = Product(2, 32, 17);
  a.mutable_graph()->mutable_node(0)->set_op_type("Softmax");  // flattened in front of its axis
  a.mutable_graph()->mutable_node(0)->mutable_input()->RemoveLast();
  EXPECT_THROW(UnifyVersions(a, b), UnsupportedError);
}

TEST(DropUnsharedDefaults, KeepsAnOptionalInputOnlyWhenBothModelsHaveIt) {
  onnx::ModelProto a = Product(1), b = Product(2);
  for (onnx::ModelProto* model : {&a, &b}) {
    testing::Declare(*model->mutable_graph()->add_input(), "w", DType::kFloat32, {32, 32});
  }
  onnx::ModelProto c = a, d = a;
  DropUnsharedDefaults(a, b, {});
  EXPECT_EQ(a.graph().input_size(), 1);
  EXPECT_EQ(b.graph().input_size(), 1);
  DropUnsharedDefaults(c, d, {{"w", "w"}});
  EXPECT_EQ(c.graph().input_size(), 2);
}

}  // namespace
}  // namespace ptq
