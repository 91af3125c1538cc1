// How nodes are named, and how absent attributes are read.
#include "ptq/model/node.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(Node, IsNamedByItsFirstOutputWhenItHasNoName) {
  onnx::NodeProto proto;
  testing::FillNode(proto, "Relu", {"x"}, {"y"});
  EXPECT_EQ(Node(proto, 17).name(), "Relu of 'y'");
  proto.set_name("act");
  EXPECT_EQ(Node(proto, 17).name(), "act");
}

TEST(Node, ReadsAttributesOrTheirFallbacks) {
  onnx::NodeProto proto;
  testing::FillNode(proto, "Concat", {"x", ""}, {"y"});
  testing::SetInt(proto, "axis", -2);
  testing::SetInts(proto, "perm", {1, 0});
  const Node node(proto, 17);
  EXPECT_EQ(node.Int("axis", 5), -2);
  EXPECT_EQ(node.Int("other", 5), 5);
  EXPECT_EQ(node.Float("other", 0.5f), 0.5f);
  EXPECT_THAT(node.Ints("perm"), ::testing::ElementsAre(1, 0));
  EXPECT_EQ(node.RequiredInt("axis"), -2);
  EXPECT_THROW((void)node.RequiredInt("other"), InputError);
  EXPECT_TRUE(node.has_input(0));
  EXPECT_FALSE(node.has_input(1));
  EXPECT_FALSE(node.has_input(2));
}

TEST(Node, KeepsOperatorsOfUnknownDomainsApart) {
  onnx::NodeProto proto;
  testing::FillNode(proto, "MatMul", {"x", "w"}, {"y"});
  for (const char* domain : {"", "ai.onnx", "com.microsoft", "com.microsoft.nchwc"}) {
    proto.set_domain(domain);
    EXPECT_EQ(Node(proto, 1).op_type(), "MatMul") << domain;
  }
  proto.set_domain("my.domain");
  EXPECT_EQ(Node(proto, 1).op_type(), "my.domain::MatMul");
  EXPECT_EQ(Node(proto, 1).name(), "my.domain::MatMul of 'y'");
}

TEST(Node, TakesTheStandardDomainByBothNames) {
  onnx::NodeProto proto;
  proto.set_domain("ai.onnx");
  EXPECT_EQ(Node(proto, 17).domain(), "");
}

TEST(Node, RefusesOperandsThatItDoesNotHave) {
  const onnx::NodeProto proto = MakeNode("Relu", "r", {"x"}, "y");
  const Node node(proto, 17);
  EXPECT_EQ(node.input(0), "x");
  EXPECT_THROW((void)node.input(1), InputError);
  EXPECT_THROW((void)node.input(-1), InputError);
  EXPECT_THROW((void)node.output(1), InputError);
  EXPECT_FALSE(node.has_input(-1));
}

}  // namespace
}  // namespace ptq
