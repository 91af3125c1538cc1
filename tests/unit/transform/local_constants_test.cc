// A branch gets its own names for what its DequantizeLinear reads, and the main graph does not.
#include "ptq/transform/local_constants.h"

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::HasSubstr;

TEST(LocalConstants, CopiesWhatDequantizeLinearReadsIntoItsBranch) {
  EditedModel edited(testing::WithBranches());
  const std::string codes =
      edited.output().store.Add("codes", DType::kInt8, {4}, std::vector<std::byte>(4));
  edited.editor().Replace(edited.Producer("of_Relu"),
                          {MakeNode("DequantizeLinear", "", {codes, "x"}, "of_Relu")});
  edited.editor().Replace(edited.Producer("of_Abs"), {MakeNode("Cast", "", {codes}, "of_Abs")});
  const onnx::NodeProto& branches = edited.Committed().node(0);
  edited.passes().Apply(TransformStage::kHeld);
  const onnx::GraphProto& then_branch = FindAttribute(branches, "then_branch")->g();
  ASSERT_EQ(then_branch.initializer_size(), 1);
  EXPECT_EQ(then_branch.initializer(0).name(), "codes_2");
  EXPECT_EQ(then_branch.node(0).input(0), "codes_2");
  EXPECT_EQ(then_branch.node(0).input(1), "x");
  const onnx::GraphProto& else_branch = FindAttribute(branches, "else_branch")->g();
  EXPECT_EQ(else_branch.initializer_size(), 0);
  EXPECT_EQ(else_branch.node(0).input(0), "codes");
}

TEST(LocalConstants, PlansForModelsWithSubgraphsAlone) {
  EXPECT_THAT(EditedModel(testing::WithBranches()).passes().local_constants.Plan(),
              HasSubstr("2 subgraphs"));
  testing::GraphBuilder plain;
  plain.Input("x", {1}).Op("Relu", {"x"}, "y").Output("y", {1});
  EXPECT_EQ(EditedModel(plain).passes().local_constants.Plan(), "");
}

}  // namespace
}  // namespace ptq
