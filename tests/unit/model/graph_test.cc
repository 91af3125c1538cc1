#include "ptq/model/graph.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;

GraphBuilder WithInput() {
  GraphBuilder b;
  b.Input("x", {-1, 4});
  return b;
}

void ExpectRefused(const GraphBuilder& builder) {
  EXPECT_THROW(Graph(builder.Build()), InputError);
}

TEST(Graph, SortsNodesThatAreListedOutOfOrder) {
  GraphBuilder b = WithInput();
  b.Op("Relu", {"b"}, "c").Op("Relu", {"a"}, "b").Op("Relu", {"x"}, "a").Output("c", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  ASSERT_EQ(graph.nodes().size(), 3u);
  EXPECT_EQ(graph.nodes()[0].output(0), "a");
  EXPECT_EQ(graph.nodes()[2].output(0), "c");
  EXPECT_EQ(graph.ProtoIndex(0), 2);
  EXPECT_EQ(graph.value(graph.Find("b")).producer, 1);
}

TEST(Graph, KeepsTheFilesOrderWhereItIsSorted) {
  GraphBuilder b = WithInput();
  b.Op("Relu", {"x"}, "a").Op("Relu", {"x"}, "b").Op("Add", {"a", "b"}, "c").Output("c", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(graph.ProtoIndex(i), i);
}

TEST(Graph, KnowsUsesConstantsAndBoundaries) {
  GraphBuilder b = WithInput();
  b.Random("w", {4, 4}).Op("MatMul", {"x", "w"}, "y").Op("Add", {"y", "y"}, "z");
  b.Output("z", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_TRUE(graph.value(graph.Find("x")).graph_input);
  EXPECT_TRUE(graph.value(graph.Find("z")).graph_output);
  EXPECT_NE(graph.value(graph.Find("w")).constant, nullptr);
  ASSERT_EQ(graph.value(graph.Find("y")).uses.size(), 2u);
  EXPECT_EQ(graph.value(graph.Find("y")).uses[1].input, 1);
  EXPECT_EQ(graph.Find("nobody"), kNoValue);
  EXPECT_EQ(graph.DeclaredType(graph.Find("x")).shape, (Shape{-1, 4}));
}

TEST(Graph, DoesNotAskForInputsThatAreInitializers) {
  GraphBuilder b = WithInput();
  b.Input("w", {4, 4}).Random("w", {4, 4}).Op("MatMul", {"x", "w"}, "y").Output("y", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THAT(graph.graph_inputs(), ElementsAre(graph.Find("x")));
}

TEST(Graph, AcceptsAbsentOptionalInputs) {
  GraphBuilder b = WithInput();
  b.Op("Clip", {"x", "", "x"}, "y").Output("y", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_EQ(graph.inputs(0)[1], kNoValue);
}

TEST(Graph, RefusesACycle) {
  GraphBuilder b = WithInput();
  ExpectRefused(b.Op("Add", {"x", "b"}, "a").Op("Relu", {"a"}, "b").Output("b", {-1, 4}));
}

TEST(Graph, RefusesAValueThatIsDefinedTwice) {
  GraphBuilder b = WithInput();
  ExpectRefused(b.Op("Relu", {"x"}, "a").Op("Abs", {"x"}, "a").Output("a", {-1, 4}));
  GraphBuilder c = WithInput();
  ExpectRefused(c.Op("Relu", {"x"}, "x").Output("x", {-1, 4}));
}

TEST(Graph, RefusesInputsAndOutputsThatNothingProduces) {
  GraphBuilder b = WithInput();
  ExpectRefused(b.Op("Relu", {"ghost"}, "a").Output("a", {-1, 4}));
  GraphBuilder c = WithInput();
  ExpectRefused(c.Op("Relu", {"x"}, "a").Output("ghost", {-1, 4}));
}

TEST(Graph, ListsWhatASubgraphCaptures) {
  GraphBuilder b = WithInput();
  b.Input("flag", {}, DType::kBool).Op("If", {"flag"}, "y").Output("y", {-1, 4});
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& body = *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    testing::FillNode(*body.add_node(), "Relu", {"x"}, {"inner"});
    body.add_output()->set_name("inner");
  }
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_EQ(graph.captures(0).front(), graph.Find("x"));
  EXPECT_EQ(graph.value(graph.Find("x")).uses.front().input, -1);
  const auto& body = *graph.nodes()[0].Subgraph("then_branch");
  EXPECT_THAT(FreeNames(body), ElementsAre("x"));
}

}  // namespace
}  // namespace ptq
