// Ranks are told where they are certain, and nowhere else.
#include "ptq/transform/tensor_ranks.h"

#include <optional>

#include "support/model_builder.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;

TEST(TensorRanks, FollowsTheCommonOperators) {
  GraphBuilder b;
  b.Input("x", {2, 3, 8}).Random("w", {8, 5}).Random("bias", {5});
  Tensor shape(DType::kInt64, {4});
  b.Weight("shape", shape);
  b.Op("MatMul", {"x", "w"}, "product").Op("Add", {"bias", "product"}, "sum");
  b.Op("Reshape", {"sum", "shape"}, "heads").Op("Transpose", {"heads"}, "turned");
  b.Ints("perm", {0, 2, 1, 3}).Op("Shape", {"turned"}, "sizes");
  b.Op("Gather", {"w", "ids"}, "of_unknown").Op("Softmax", {"heads"}, "soft");
  TensorRanks ranks(b.graph(), 13);
  EXPECT_EQ(ranks.Of("product"), 3);
  EXPECT_EQ(ranks.Of("sum"), 3);
  EXPECT_EQ(ranks.Of("heads"), 4);
  EXPECT_EQ(ranks.Of("turned"), 4);
  EXPECT_EQ(ranks.Of("soft"), 4);
  EXPECT_EQ(ranks.Of("sizes"), 1);
  EXPECT_EQ(ranks.Of("of_unknown"), std::nullopt);
  EXPECT_EQ(ranks.Of("nothing"), std::nullopt);
}

TEST(TensorRanks, CountsAxesWhereTheOpsetHasThem) {
  GraphBuilder b;
  b.Input("x", {2, 3}).Weight("axes", Tensor(DType::kInt64, {2}));
  b.Op("Unsqueeze", {"x", "axes"}, "by_input");
  b.Op("Unsqueeze", {"x"}, "by_attribute").Ints("axes", {0});
  EXPECT_EQ(TensorRanks(b.graph(), 13).Of("by_input"), 4);
  EXPECT_EQ(TensorRanks(b.graph(), 11).Of("by_input"), std::nullopt);
  EXPECT_EQ(TensorRanks(b.graph(), 11).Of("by_attribute"), 3);
}

TEST(TensorRanks, AsksTheGraphAround) {
  GraphBuilder outer;
  outer.Input("x", {2, 3}).Op("Relu", {"x"}, "a");
  GraphBuilder inner;
  inner.Op("Abs", {"a"}, "b");
  TensorRanks around(outer.graph(), 13);
  EXPECT_EQ(TensorRanks(inner.graph(), 13, &around).Of("b"), 2);
  EXPECT_EQ(TensorRanks(inner.graph(), 13).Of("b"), std::nullopt);
}

TEST(TensorRanks, EndsInACycle) {
  GraphBuilder b;
  b.Op("Relu", {"b"}, "a").Op("Relu", {"a"}, "b");
  EXPECT_EQ(TensorRanks(b.graph(), 13).Of("a"), std::nullopt);
}

}  // namespace
}  // namespace ptq
