// What is built has the fields that were asked for, and imports only rise.
#include "ptq/model/node_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/node.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(NodeBuilder, MakesANodeWithItsInputsAndOutput) {
  const onnx::NodeProto node = MakeNode("Where", "choice", {"condition", "a", "b"}, "y");
  EXPECT_EQ(node.op_type(), "Where");
  EXPECT_EQ(node.name(), "choice");
  EXPECT_THAT(node.input(), ElementsAre("condition", "a", "b"));
  EXPECT_THAT(node.output(), ElementsAre("y"));
}

TEST(NodeBuilder, SetsAttributesWithTheirTypes) {
  onnx::NodeProto node = MakeCast("cast", "x", "y", DType::kFloat16);
  SetString(node, "mode", "fast");
  EXPECT_EQ(Node(node, 17).Int("to", -1), int64_t(onnx::TensorProto::FLOAT16));
  EXPECT_EQ(Node(node, 17).String("mode", ""), "fast");
  ASSERT_NE(FindAttribute(node, "to"), nullptr);
  EXPECT_EQ(FindAttribute(node, "to")->type(), onnx::AttributeProto::INT);
  EXPECT_EQ(FindAttribute(node, "mode")->type(), onnx::AttributeProto::STRING);
  EXPECT_EQ(FindAttribute(node, "axis"), nullptr);
}

TEST(NodeBuilder, SetsNumbersAndLists) {
  onnx::NodeProto node;
  SetFloat(node, "alpha", 0.5f);
  SetInts(node, "perm", {0, 2, 1});
  EXPECT_EQ(Node(node, 17).Float("alpha", 0), 0.5f);
  EXPECT_THAT(Node(node, 17).Ints("perm"), ElementsAre(0, 2, 1));
  EXPECT_EQ(FindAttribute(node, "alpha")->type(), onnx::AttributeProto::FLOAT);
  EXPECT_EQ(FindAttribute(node, "perm")->type(), onnx::AttributeProto::INTS);
}

TEST(NodeBuilder, RemovesAnAttributeAndNoOther) {
  onnx::NodeProto node;
  SetInt(node, "axis", 1);
  SetInts(node, "perm", {1, 0});
  RemoveAttribute(node, "perm");
  RemoveAttribute(node, "mode");  // which it has not
  EXPECT_EQ(node.attribute_size(), 1);
  EXPECT_EQ(Node(node, 17).Int("axis", -1), 1);
  SetInts(node, "perm", {0, 1});
  EXPECT_THAT(Node(node, 17).Ints("perm"), ElementsAre(0, 1));
}

TEST(NodeBuilder, FindsTheTensorOfAConstantAndOfNothingElse) {
  onnx::TensorProto tensor;
  tensor.set_name("three");
  onnx::NodeProto constant = MakeNode("Constant", "", {}, "c");
  EXPECT_EQ(ConstantOf(constant), nullptr);
  SetTensor(constant, "value", tensor);
  ASSERT_NE(ConstantOf(constant), nullptr);
  EXPECT_EQ(ConstantOf(constant)->name(), "three");
  onnx::NodeProto other = MakeNode("ConstantOfShape", "", {"shape"}, "c");
  SetTensor(other, "value", tensor);
  EXPECT_EQ(ConstantOf(other), nullptr);
}

TEST(NodeBuilder, RaisesAnImportAndNeverLowersIt) {
  onnx::ModelProto model;
  EXPECT_EQ(OpsetOf(model, ""), 0);
  RaiseOpset(model, "", 17);
  RaiseOpset(model, "com.microsoft", 1);
  RaiseOpset(model, "", 13);
  EXPECT_EQ(OpsetOf(model, ""), 17);
  RaiseOpset(model, "", 21);
  EXPECT_EQ(OpsetOf(model, ""), 21);
  EXPECT_EQ(OpsetOf(model, "com.microsoft"), 1);
  EXPECT_EQ(model.opset_import_size(), 2);
}

TEST(OutputOf, IsEmptyWhereThereIsNone) {
  const onnx::NodeProto node = MakeNode("Relu", "r", {"x"}, "y");
  EXPECT_EQ(OutputOf(node, 0), "y");
  EXPECT_EQ(OutputOf(node, 1), "");
}

}  // namespace
}  // namespace ptq
