// Edits keep producers before consumers, drop what nobody reads, and reach into branches.
#include "ptq/transform/graph_editor.h"

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::ElementsAre;
using testing::GraphBuilder;
using testing::OpTypes;

/// y = Abs(Relu(x))
GraphBuilder TwoNodes() {
  GraphBuilder b;
  b.Input("x", {4}).Op("Relu", {"x"}, "a").Op("Abs", {"a"}, "y").Output("y", {4});
  return b;
}

TEST(GraphEditor, LeavesAnUneditedGraphAlone) {
  EditedModel edited(TwoNodes());
  EXPECT_EQ(edited.Committed().SerializeAsString(), edited.graph().proto().SerializeAsString());
}

TEST(GraphEditor, ReplacesANodeByOthersInAnyOrder) {
  EditedModel edited(TwoNodes());
  edited.editor().Replace(edited.Producer("a"), {MakeNode("Neg", "", {"inner"}, "a"),
                                                 MakeNode("Exp", "", {"x"}, "inner")});
  EXPECT_THAT(OpTypes(edited.Committed()), ElementsAre("Exp", "Neg", "Abs"));
}

TEST(GraphEditor, DropsWhatIsNoLongerRead) {
  EditedModel edited(TwoNodes());
  const int abs = edited.Producer("y");
  EXPECT_EQ(edited.editor().InputOf(abs, 0), "a");
  edited.editor().SetInput(abs, 0, "x");
  EXPECT_EQ(edited.editor().InputOf(abs, 0), "x");
  EXPECT_FALSE(edited.editor().NeededNames().contains("a"));
  EXPECT_THAT(OpTypes(edited.Committed()), ElementsAre("Abs"));
}

TEST(GraphEditor, KeepsWhatNobodyReadInTheSource) {
  GraphBuilder b = TwoNodes();
  b.Op("Exp", {"x"}, "for_no_reason");
  EditedModel edited(b);
  edited.editor().SetInput(edited.Producer("y"), 0, "x");
  EXPECT_THAT(OpTypes(edited.Committed()), ElementsAre("Abs", "Exp"));
}

TEST(GraphEditor, RewiresTheNodesThatReplacedANode) {
  EditedModel edited(TwoNodes());
  const int abs = edited.Producer("y");
  edited.editor().Replace(abs, {MakeNode("Add", "", {"a", "a"}, "y")});
  edited.editor().SetInput(abs, 0, "x");
  EXPECT_THAT(edited.Committed().node(0).input(), ElementsAre("x", "x"));
}

TEST(GraphEditor, InsertsBehindAnInputInFrontOfAllOthers) {
  EditedModel edited(TwoNodes());
  edited.editor().InsertBehind(edited.graph().Find("x"), MakeNode("Neg", "", {"x"}, "minus"));
  edited.editor().SetInput(edited.Producer("y"), 0, "minus");
  EXPECT_THAT(OpTypes(edited.Committed()), ElementsAre("Neg", "Abs"));
}

TEST(GraphEditor, EditsTheNodesOfABranchWhereTheyStand) {
  EditedModel edited(testing::WithBranches());
  edited.editor().Replace(edited.Producer("of_Abs"), {MakeNode("Neg", "", {"x"}, "of_Abs")});
  const onnx::GraphProto& graph = edited.Committed();
  ASSERT_THAT(OpTypes(graph), ElementsAre("If"));
  EXPECT_THAT(OpTypes(FindAttribute(graph.node(0), "then_branch")->g()), ElementsAre("Relu"));
  EXPECT_THAT(OpTypes(FindAttribute(graph.node(0), "else_branch")->g()), ElementsAre("Neg"));
}

TEST(GraphEditor, RefusesACycle) {
  EditedModel edited(TwoNodes());
  edited.editor().SetInput(edited.Producer("a"), 0, "y");
  EXPECT_THROW(edited.editor().Commit(), InternalError);
}

}  // namespace
}  // namespace ptq
