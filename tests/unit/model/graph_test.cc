// The order of nodes with their branches and bodies, and which graphs are refused.
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
  EXPECT_EQ(graph.value(graph.Find("b")).producer, 1);
}

TEST(Graph, KeepsTheFilesOrderWhereItIsSorted) {
  GraphBuilder b = WithInput();
  b.Op("Relu", {"x"}, "a").Op("Relu", {"x"}, "b").Op("Add", {"a", "b"}, "c").Output("c", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  const auto& listed = model.graph().node();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(&graph.nodes()[size_t(i)].proto(), &listed[i]);
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

TEST(Graph, TellsWhoReadsElementsFromWhoAsksForAShape) {
  GraphBuilder b = WithInput();
  b.Op("Relu", {"x"}, "a").Op("Shape", {"x"}, "b").Op("Size", {"x"}, "c");
  b.Output("a", {-1, 4});
  const Model model = b.Build();
  const Graph graph(model);
  for (const Use& use : graph.value(graph.Find("x")).uses) {
    EXPECT_EQ(graph.ReadsElements(use), graph.nodes()[size_t(use.node)].op_type() == "Relu");
  }
  EXPECT_EQ(graph.Readers(graph.Find("x")), 1u);
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

/// `node` gets a branch that computes out = f(in) for each of some operators in a row.
void AddBranch(onnx::NodeProto& node, const char* name, const std::vector<std::string>& types) {
  auto& body = *testing::AddAttribute(node, name, onnx::AttributeProto::GRAPH).mutable_g();
  std::string last = "x";
  for (size_t i = 0; i < types.size(); ++i) {
    const std::string next = name + std::to_string(i);
    testing::FillNode(*body.add_node(), types[i], {last}, {next});
    last = next;
  }
  body.add_output()->set_name(last);
}

GraphBuilder WithIf() {
  GraphBuilder b = WithInput();
  b.Input("flag", {}, DType::kBool).Op("If", {"flag"}, "y").Output("y", {-1, 4});
  AddBranch(b.last(), "then_branch", {"Relu", "Neg"});
  AddBranch(b.last(), "else_branch", {"Abs"});
  return b;
}

std::vector<std::string> TypesOf(const Graph& graph) {
  std::vector<std::string> types;
  for (const Node& node : graph.nodes()) types.push_back(node.op_type());
  return types;
}

TEST(Graph, PutsBranchesInFrontOfTheirIf) {
  const Model model = WithIf().Build();
  const Graph graph(model);
  EXPECT_THAT(TypesOf(graph), ElementsAre("Relu", "Neg", "Abs", "If"));
  const ValueId flag = graph.Find("flag");
  EXPECT_THAT(graph.inputs(3),
              ElementsAre(flag, graph.Find("then_branch1"), graph.Find("else_branch0")));
  const Scope& then = graph.scope(graph.ScopeOf(0));
  const Scope& other = graph.scope(graph.ScopeOf(2));
  EXPECT_EQ(then.condition, flag);
  EXPECT_TRUE(then.polarity);
  EXPECT_EQ(other.condition, flag);
  EXPECT_FALSE(other.polarity);
  EXPECT_EQ(graph.ScopeOf(3), 0);
  EXPECT_EQ(graph.BodyOf(graph.ScopeOf(0)), 0);
  EXPECT_EQ(graph.value(graph.Find("x")).uses.size(), 2u);
}

TEST(Graph, HasOnlyTheBranchThatAStoredConditionPicks) {
  GraphBuilder b = WithIf();
  b.graph().mutable_input()->RemoveLast();
  b.Weight("flag", Tensor::Scalar<bool>(false));
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THAT(TypesOf(graph), ElementsAre("Abs", "If"));
  // The other branch is still there, and somebody reads what it reads.
  EXPECT_THAT(graph.captures(1), ElementsAre(graph.Find("x")));
  EXPECT_EQ(graph.value(graph.Find("x")).uses.size(), 2u);
}

TEST(Graph, LetsBranchesTakeTurnsAtTheWeightsThatTheyShare) {
  GraphBuilder b = WithInput();
  b.Random("w", {4, 4}).Random("u", {4, 4});
  b.Input("flag", {}, DType::kBool).Op("If", {"flag"}, "y").Output("y", {-1, 4});
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& body = *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    testing::FillNode(*body.add_node(), "MatMul", {"x", "w"}, {"p"});
    testing::FillNode(*body.add_node(), "Relu", {"p"}, {"r"});
    testing::FillNode(*body.add_node(), "MatMul", {"r", "u"}, {"q"});
    body.add_output()->set_name("q");
  }
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THAT(TypesOf(graph),
              ElementsAre("MatMul", "MatMul", "Relu", "MatMul", "Relu", "MatMul", "If"));
  EXPECT_EQ(graph.inputs(0)[1], graph.inputs(1)[1]);
  EXPECT_NE(graph.ScopeOf(0), graph.ScopeOf(1));
}

TEST(Graph, PutsABodyInFrontOfItsLoop) {
  GraphBuilder b = WithInput();
  b.Input("trips", {}, DType::kInt64).Op("Neg", {"x"}, "n");
  b.Op("Loop", {"trips", "", "x"}, "y").Output("y", {-1, 4});
  auto& body = *testing::AddAttribute(b.last(), "body", onnx::AttributeProto::GRAPH).mutable_g();
  for (const char* name : {"i", "c", "v"}) body.add_input()->set_name(name);
  testing::FillNode(*body.add_node(), "Add", {"v", "n"}, {"s"});
  for (const char* name : {"c", "s"}) body.add_output()->set_name(name);
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THAT(TypesOf(graph), ElementsAre("Neg", "Add", "Loop"));
  const int inner = graph.BodyIn(2);
  EXPECT_EQ(graph.ScopeOf(1), inner);
  EXPECT_EQ(graph.BodyOf(inner), inner);
  EXPECT_EQ(graph.scope(inner).first, 1);
  EXPECT_EQ(graph.scope(inner).owner, 2);
  EXPECT_THAT(graph.captures(2), ElementsAre(graph.Find("n")));
  EXPECT_EQ(graph.value(graph.Find("s")).uses.back().input, -1);
}

TEST(Graph, HidesWhatABranchDefinesFromTheMainGraph) {
  GraphBuilder b = WithIf();
  ExpectRefused(b.Op("Relu", {"then_branch0"}, "z").Output("z", {-1, 4}));
}

TEST(Graph, RefusesTheValueOfAnAbsentOperand) {
  GraphBuilder b;
  b.Input("x", {2}).Op("Relu", {"x"}, "y").Output("y", {2});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THROW((void)graph.value(kNoValue), InputError);
}

}  // namespace
}  // namespace ptq
