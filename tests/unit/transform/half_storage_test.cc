// What becomes FP16, what does not, and where the casts stand.
#include "ptq/transform/half_storage.h"

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::HasSubstr;
using testing::OpTypes;

/// y = table[ids] + w
GraphBuilder Lookup() {
  GraphBuilder b;
  b.Input("ids", {3}, DType::kInt64).Random("table", {8, 4}).Random("w", {4}).Random("one", {1});
  b.Op("Gather", {"table", "ids"}, "rows").Op("Add", {"rows", "w"}, "sum");
  b.Op("Mul", {"sum", "one"}, "y").Output("y", {3, 4});
  return b;
}

TransformRequest Asking(const std::vector<std::string>& names) {
  const Model model = Lookup().Build();
  const Graph graph(model);
  TransformRequest request;
  for (const std::string& name : names) request.halves.push_back(graph.Find(name));
  return request;
}

TEST(HalfStorage, CastsBehindWhatOnlyMovesElements) {
  EditedModel edited(Lookup());
  const ValueId table = edited.graph().Find("table");
  EXPECT_EQ(edited.passes().half_storage.Store(table), 64);
  EXPECT_EQ(edited.passes().half_storage.Store(table), 64);
  EXPECT_EQ(edited.output().store.initializers().size(), 1u) << "it is stored once";
  EXPECT_TRUE(edited.passes().half_storage.Stored("table"));
  EXPECT_THAT(OpTypes(edited.Committed()), ElementsAre("Gather", "Cast", "Add", "Mul"));
}

TEST(HalfStorage, StoresTheConstantsThatItIsAskedFor) {
  EditedModel edited(Lookup(), Asking({"table", "w"}));
  edited.passes().Apply(TransformStage::kEdited);
  EXPECT_TRUE(edited.passes().half_storage.Stored("table"));
  EXPECT_TRUE(edited.passes().half_storage.Stored("w"));
  EXPECT_FALSE(edited.passes().half_storage.Stored("one"));
}

TEST(HalfStorage, DoesNothingUnasked) {
  EditedModel edited(Lookup());
  edited.passes().Apply(TransformStage::kEdited);
  EXPECT_TRUE(edited.output().store.initializers().empty());
  EXPECT_EQ(edited.passes().half_storage.Plan(), "");
}

TEST(HalfStorage, PlansWhatItStores) {
  EXPECT_THAT(EditedModel(Lookup(), Asking({"table", "w"})).passes().half_storage.Plan(),
              HasSubstr("2 float32 constants of 144 bytes"));
  EXPECT_THAT(EditedModel(Lookup(), Asking({"w"})).passes().half_storage.Plan(),
              HasSubstr("1 float32 constants of 16 bytes"));
}

TEST(HalfStorage, KeepsWhatHalfCannotHold) {
  GraphBuilder b;
  b.Input("x", {2}).Weight("w", Tensor::From<float>({2}, {1, 1e6f}));
  b.Op("Add", {"x", "w"}, "y").Output("y", {2});
  EditedModel edited(b);
  EXPECT_EQ(edited.passes().half_storage.Store(edited.graph().Find("w")), std::nullopt);
  EXPECT_THAT(OpTypes(edited.Committed()), ElementsAre("Add"));
}

}  // namespace
}  // namespace ptq
