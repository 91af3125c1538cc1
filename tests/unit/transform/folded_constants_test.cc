// Changes add up, reach one reader alone, and stay within the range of the type.
#include "ptq/transform/folded_constants.h"

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::ElementsAre;
using testing::GraphBuilder;
using Floats = std::vector<float>;

/// y = x · g + g
GraphBuilder WithGain(DType dtype = DType::kFloat32) {
  GraphBuilder b;
  b.Input("x", {2}, dtype).Weight("g", Tensor::From<float>({2}, {2, 6}).Cast(dtype));
  b.Op("Mul", {"x", "g"}, "a").Op("Add", {"a", "g"}, "y").Output("y", {2}, dtype);
  return b;
}

TEST(FoldedConstants, AddsUpTheChangesOfOneReader) {
  EditedModel edited(WithGain());
  FoldedConstants& folded = edited.passes().folded_constants;
  const Use use{edited.Producer("a"), 1};
  folded.Divide(use, Floats{2, 3});
  folded.Add(use, Floats{0.5f, -1});
  EXPECT_EQ(edited.editor().InputOf(use.node, 1), "g") << "nothing is done before Apply";
  folded.Apply();
  const std::string changed = edited.editor().InputOf(use.node, 1);
  EXPECT_THAT(edited.Stored(changed).data<float>(), ElementsAre(1.5f, 1.0f));
  EXPECT_EQ(edited.editor().InputOf(edited.Producer("y"), 1), "g");
}

TEST(FoldedConstants, AppliesEachChangeOnce) {
  EditedModel edited(WithGain());
  FoldedConstants& folded = edited.passes().folded_constants;
  const Use use{edited.Producer("a"), 1};
  folded.Divide(use, Floats{2, 2});
  folded.Apply();
  const std::string changed = edited.editor().InputOf(use.node, 1);
  folded.Apply();
  EXPECT_EQ(edited.editor().InputOf(use.node, 1), changed);
  EXPECT_EQ(edited.output().store.initializers().size(), 1u);
}

TEST(FoldedConstants, RefusesWhatHalfCannotHold) {
  EditedModel edited(WithGain(DType::kFloat16));
  FoldedConstants& folded = edited.passes().folded_constants;
  folded.Divide({edited.Producer("a"), 1}, Floats{1, 1e-4f});
  EXPECT_THROW(folded.Apply(), UnsupportedError);
}

TEST(FoldedConstants, RefusesAnotherNumberOfElements) {
  EditedModel edited(WithGain());
  FoldedConstants& folded = edited.passes().folded_constants;
  folded.Divide({edited.Producer("a"), 1}, Floats{1, 1, 1});
  EXPECT_THROW(folded.Apply(), InternalError);
}

TEST(FoldedConstants, PlansTheConstantsOfTheSites) {
  std::vector<Site> sites(2);
  sites[0].fold.kind = Fold::Kind::kGain;
  sites[0].fold.gains = {{0, 1}, {1, 1}};
  sites[1].fold.kind = Fold::Kind::kLinearRows;
  sites[1].fold.bias = {1, 1};
  TransformRequest request;
  request.sites = sites;
  EXPECT_EQ(EditedModel(WithGain(), request).passes().folded_constants.Plan(),
            "3 gains and biases may take up scales");
  EXPECT_EQ(EditedModel(WithGain()).passes().folded_constants.Plan(), "");
}

}  // namespace
}  // namespace ptq
