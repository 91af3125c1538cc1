// The list: each pass has a name of its own, plans without changing, and is applied in its stage.
#include "ptq/transform/transforms.h"

#include <set>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Of opset 12, with one node that opset 21 defines otherwise.
GraphBuilder Old() {
  GraphBuilder b(12);
  b.Input("x", {2, 3}).Random("w", {3}).Op("Add", {"x", "w"}, "a");
  b.Op("ReduceMean", {"a"}, "y").Ints("axes", {1}).Output("y", {2, 1});
  return b;
}

class TransformsTest : public ::testing::Test {
 protected:
  TransformsTest() {
    request_.opset = 21;
    request_.opset_reason = "the test";
    const Model model = Old().Build();
    request_.halves = {Graph(model).Find("w")};
  }
  testing::TempDirectory directory_;
  TransformRequest request_;
};

TEST_F(TransformsTest, HaveNamesOfTheirOwnAndComeInTheOrderOfTheirStages) {
  const Model model = Old().Build();
  const Graph graph(model);
  OutputGraph output(graph, directory_.path() / "data");
  Transforms passes(output, {});
  std::set<std::string_view> names;
  TransformStage last = TransformStage::kCopied;
  for (const Transform* const pass : passes.all()) {
    EXPECT_TRUE(names.insert(pass->name()).second) << pass->name();
    EXPECT_GE(pass->stage(), last) << pass->name();
    last = pass->stage();
  }
  EXPECT_THAT(passes.Plan(), IsEmpty());
}

TEST_F(TransformsTest, PlanWithoutChangingAnything) {
  const Model model = Old().Build();
  const Graph graph(model);
  OutputGraph output(graph, directory_.path() / "data");
  const std::string before = output.model.SerializeAsString();
  EXPECT_THAT(Transforms(output, request_).Plan(),
              ElementsAre(AllOf(HasSubstr("opset upgrade: the test needs opset 21"),
                                HasSubstr("has 12; 1 nodes are rewritten")),
                          HasSubstr("half storage: 1 float32 constants of 12 bytes")));
  EXPECT_EQ(output.model.SerializeAsString(), before);
  EXPECT_TRUE(output.store.initializers().empty());
}

TEST_F(TransformsTest, PlanRefusesWhatApplyWouldRefuse) {
  GraphBuilder b(10);
  b.Input("x", {2}).Op("Clip", {"x"}, "y").Output("y", {2});
  const Model model = b.Build();
  const Graph graph(model);
  OutputGraph output(graph, directory_.path() / "data");
  request_.halves.clear();
  EXPECT_THROW((void)Transforms(output, request_).Plan(), UnsupportedError);
}

TEST_F(TransformsTest, ApplyInTheirStages) {
  const Model model = Old().Build();
  const Graph graph(model);
  OutputGraph output(graph, directory_.path() / "data");
  Transforms passes(output, request_);
  passes.Apply(TransformStage::kCopied);
  EXPECT_EQ(OpsetOf(output.model, ""), 21);
  EXPECT_EQ(OpsetOf(model.proto(), ""), 12) << "the source stays as it is";
  EXPECT_TRUE(output.store.initializers().empty());
  output.TakeNodes();
  passes.Apply(TransformStage::kEdited);
  output.editor->Commit();
  passes.Apply(TransformStage::kCommitted);
  EXPECT_THAT(testing::OpTypes(output.model.graph()), ElementsAre("Cast", "Add", "ReduceMean"));
  EXPECT_EQ(output.model.graph().node(2).input_size(), 2) << "axes are an input now";
}

}  // namespace
}  // namespace ptq
