// What becomes of calls, of their attributes, and of functions that call themselves.
#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/graph.h"

namespace ptq {
namespace {

using testing::FillNode;
using testing::GraphBuilder;

onnx::FunctionProto& AddFunction(GraphBuilder& b, const std::string& name) {
  auto& function = *b.proto().add_functions();
  function.set_name(name);
  function.set_domain("local");
  function.add_input("a");
  function.add_output("b");
  auto* import = function.add_opset_import();
  import->set_version(17);
  return function;
}

/// y = f(f'(x)) with both calls of one function; its body's values are called alike each time.
GraphBuilder TwoCalls() {
  GraphBuilder b;
  b.Import("local", 1).Input("x", {2}).Output("y", {2});
  b.Op("Twice", {"x"}, "m", "first").Domain("local");
  b.Op("Twice", {"m"}, "y", "second").Domain("local");
  auto& function = AddFunction(b, "Twice");
  FillNode(*function.add_node(), "Relu", {"a"}, {"inner"}, "relu");
  FillNode(*function.add_node(), "Add", {"inner", "inner"}, {"b"}, "add");
  return b;
}

TEST(Functions, AreReplacedByTheirBodiesWithNamesOfTheirOwn) {
  const Model model = TwoCalls().Build();
  EXPECT_EQ(model.proto().functions_size(), 0);
  ASSERT_EQ(model.graph().node_size(), 4);
  const Graph graph(model);  // would refuse a name that is defined twice
  EXPECT_EQ(graph.nodes()[0].input(0), "x");
  EXPECT_EQ(graph.nodes()[1].output(0), "m");
  EXPECT_EQ(graph.nodes()[3].output(0), "y");
  EXPECT_NE(graph.nodes()[0].name(), graph.nodes()[2].name());
}

TEST(Functions, MayCallEachOther) {
  GraphBuilder b = TwoCalls();
  b.Op("Outer", {"x"}, "z").Domain("local").Output("z", {2});
  auto& outer = AddFunction(b, "Outer");
  FillNode(*outer.add_node(), "Twice", {"a"}, {"b"}, "call");
  outer.mutable_node(0)->set_domain("local");
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_EQ(model.graph().node_size(), 6);
  EXPECT_NE(graph.Find("z"), kNoValue);
}

TEST(Functions, ThatCallThemselvesAreRefused) {
  GraphBuilder b;
  b.Input("x", {2}).Output("y", {2}).Op("Loop", {"x"}, "y").Domain("local");
  FillNode(*AddFunction(b, "Loop").add_node(), "Loop", {"a"}, {"b"});
  b.proto().mutable_functions(0)->mutable_node(0)->set_domain("local");
  EXPECT_THROW((void)b.Build(), InputError);
}

TEST(Functions, TakeAttributesFromTheCall) {
  GraphBuilder b;
  b.Input("x", {2, 3}).Output("y", {2, 3}).Output("z", {2, 3});
  b.Op("Soft", {"x"}, "y").Domain("local").Int("dim", 0);
  b.Op("Soft", {"x"}, "z").Domain("local");
  auto& function = AddFunction(b, "Soft");
  function.add_attribute("dim");
  FillNode(*function.add_node(), "Softmax", {"a"}, {"b"});
  auto& axis = testing::AddAttribute(*function.mutable_node(0), "axis", onnx::AttributeProto::INT);
  axis.set_ref_attr_name("dim");
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_EQ(graph.nodes()[0].Int("axis", -1), 0);
  EXPECT_FALSE(graph.nodes()[1].HasAttribute("axis"));
}

TEST(Functions, OfAnotherOpsetAreUnsupported) {
  GraphBuilder b = TwoCalls();
  b.proto().mutable_functions(0)->mutable_opset_import(0)->set_version(13);
  EXPECT_THROW((void)b.Build(), UnsupportedError);
}

TEST(Functions, ThatStandForMoreThanAnybodyMeansAreRefused) {
  GraphBuilder b;
  b.Import("local", 1).Input("x", {2}).Output("y", {2});
  constexpr int kDepth = 40;  // 2^40 nodes
  for (int i = 0; i < kDepth; ++i) {
    auto& function = AddFunction(b, "F" + std::to_string(i));
    const bool last = i + 1 == kDepth;
    const std::string next = last ? "Relu" : "F" + std::to_string(i + 1);
    FillNode(*function.add_node(), next, {"a"}, {"m"}, "one");
    FillNode(*function.add_node(), next, {"m"}, {"b"}, "two");
    for (auto& node : *function.mutable_node()) node.set_domain(last ? "" : "local");
  }
  b.Op("F0", {"x"}, "y").Domain("local");
  EXPECT_THROW((void)b.Build(), InputError);
}

}  // namespace
}  // namespace ptq
