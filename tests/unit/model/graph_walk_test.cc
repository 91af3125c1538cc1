// Walks reach every depth, names are those that a graph reads, and orders keep what was in order.
#include "ptq/model/graph_walk.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::AddAttribute;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

onnx::GraphProto& AddSubgraph(onnx::NodeProto& node, const std::string& attribute) {
  return *AddAttribute(node, attribute, onnx::AttributeProto::GRAPH).mutable_g();
}

/// y = If(c): then Relu(x) with a loop inside that reads `outer` and its own `w`, else Neg(x).
onnx::GraphProto Nested() {
  onnx::GraphProto graph;
  graph.set_name("main");
  *graph.add_node() = MakeNode("Abs", "abs", {"x"}, "outer");
  *graph.add_node() = MakeNode("If", "if", {"c"}, "y");
  onnx::NodeProto& branches = *graph.mutable_node(1);
  onnx::GraphProto& then_branch = AddSubgraph(branches, "then_branch");
  then_branch.set_name("then");
  *then_branch.add_node() = MakeNode("Relu", "relu", {"x"}, "a");
  *then_branch.add_node() = MakeNode("Loop", "loop", {"", "", "a"}, "b");
  onnx::GraphProto& body = AddSubgraph(*then_branch.mutable_node(1), "body");
  body.set_name("body");
  body.add_input()->set_name("i");
  body.add_initializer()->set_name("w");
  *body.add_node() = MakeNode("Sum", "sum", {"i", "w", "outer"}, "s");
  body.add_output()->set_name("s");
  then_branch.add_output()->set_name("b");
  onnx::GraphProto& else_branch = AddSubgraph(branches, "else_branch");
  else_branch.set_name("else");
  *else_branch.add_node() = MakeNode("Neg", "neg", {"x"}, "n");
  else_branch.add_output()->set_name("n");
  return graph;
}

TEST(GraphWalk, VisitsGraphsOuterFirst) {
  const onnx::GraphProto main = Nested();
  std::vector<std::string> names;
  ForEachGraph(main, [&](const onnx::GraphProto& graph) { names.push_back(graph.name()); });
  EXPECT_THAT(names, ElementsAre("main", "then", "body", "else"));
}

TEST(GraphWalk, VisitsEveryNodeAndMayChangeIt) {
  onnx::GraphProto main = Nested();
  std::vector<std::string> names;
  ForEachNode(*main.mutable_node(), [&](onnx::NodeProto& node) {
    names.push_back(node.name());
    node.set_doc_string("seen");
  });
  EXPECT_THAT(names, ElementsAre("abs", "if", "relu", "loop", "sum", "neg"));
  const onnx::GraphProto& changed = main;
  int seen = 0;
  ForEachNode(changed.node(),
              [&](const onnx::NodeProto& node) { seen += int(node.doc_string() == "seen"); });
  EXPECT_EQ(seen, 6);
}

TEST(GraphWalk, VisitsTheDeclarationsOfOneGraph) {
  onnx::GraphProto graph = Nested();
  graph.add_input()->set_name("x");
  graph.add_value_info()->set_name("outer");
  graph.add_output()->set_name("y");
  std::vector<std::string> names;
  ForEachDeclaration(graph, [&](onnx::ValueInfoProto& info) {
    names.push_back(info.name());
    info.set_doc_string("seen");
  });
  EXPECT_THAT(names, ElementsAre("x", "y", "outer"));  // not those of branches
  EXPECT_EQ(graph.value_info(0).doc_string(), "seen");
}

TEST(GraphWalk, VisitsListsOfSubgraphs) {
  onnx::NodeProto node = MakeNode("Custom", "custom", {}, "y");
  auto& list = AddAttribute(node, "branches", onnx::AttributeProto::GRAPHS);
  list.add_graphs()->set_name("first");
  list.add_graphs()->set_name("second");
  std::vector<std::string> names;
  ForEachSubgraph(std::as_const(node),
                  [&](const onnx::GraphProto& graph) { names.push_back(graph.name()); });
  EXPECT_THAT(names, ElementsAre("first", "second"));
}

TEST(GraphWalk, TellsWhatASubgraphCaptures) {
  const onnx::GraphProto main = Nested();
  EXPECT_THAT(FreeNames(main), ElementsAre("x", "c"));
  EXPECT_THAT(FreeNames(main.node(1).attribute(0).g()), ElementsAre("x", "outer"));
  EXPECT_THAT(NamesRead(main.node(1)), ElementsAre("c", "x", "outer", "x"));
}

TEST(GraphWalk, CollectsAllNames) {
  EXPECT_THAT(NamesIn(Nested()),
              UnorderedElementsAre("", "x", "c", "y", "a", "b", "i", "w", "s", "n", "outer", "abs",
                                   "if", "relu", "loop", "sum", "neg"));
}

std::optional<std::vector<int>> OrderOf(const std::vector<onnx::NodeProto>& nodes) {
  std::vector<const onnx::NodeProto*> pointers;
  for (const auto& node : nodes) pointers.push_back(&node);
  return TopologicalOrder(pointers);
}

TEST(TopologicalOrder, KeepsWhatIsInOrder) {
  EXPECT_THAT(OrderOf({MakeNode("A", "", {"x"}, "a"), MakeNode("B", "", {"x"}, "b"),
                       MakeNode("C", "", {"b", "a"}, "c")}),
              ::testing::Optional(ElementsAre(0, 1, 2)));
}

TEST(TopologicalOrder, PutsProducersFirstAlsoOfWhatSubgraphsRead) {
  const onnx::GraphProto main = Nested();
  // The If reads "outer" only in the loop of its branch.
  EXPECT_THAT(OrderOf({MakeNode("D", "", {"y"}, "d"), main.node(1), main.node(0)}),
              ::testing::Optional(ElementsAre(2, 1, 0)));
}

TEST(TopologicalOrder, FindsCycles) {
  EXPECT_EQ(OrderOf({MakeNode("A", "", {"b"}, "a"), MakeNode("B", "", {"a"}, "b")}), std::nullopt);
}

}  // namespace
}  // namespace ptq
