// Which shapes broadcast, and how axes and elements are counted.
#include "ptq/tensor/shape.h"

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(BroadcastShapes, AlignsFromTheRight) {
  EXPECT_EQ(BroadcastShapes(Shape{2, 1, 4}, Shape{3, 1}), (Shape{2, 3, 4}));
  EXPECT_EQ(BroadcastShapes(Shape{}, Shape{5}), (Shape{5}));
  EXPECT_EQ(BroadcastShapes(Shape{1, 4}, Shape{0, 4}), (Shape{0, 4}));
}

TEST(BroadcastShapes, RefusesDimensionsThatDiffer) {
  EXPECT_THROW((void)BroadcastShapes(Shape{2, 3}, Shape{2, 4}), InputError);
  EXPECT_THROW((void)BroadcastShapes(Shape{0}, Shape{2}), InputError);
}

TEST(BroadcastStrides, AreZeroWhereADimensionIsRepeated) {
  EXPECT_EQ(BroadcastStrides(Shape{3, 1, 4}, Shape{2, 3, 5, 4}),
            (std::vector<int64_t>{0, 4, 0, 1}));
  EXPECT_THROW((void)BroadcastStrides(Shape{3}, Shape{4}), InputError);
  EXPECT_THROW((void)BroadcastStrides(Shape{1, 3}, Shape{3}), InputError);
}

TEST(NumElements, IsOneForScalarsAndZeroForEmptyDimensions) {
  EXPECT_EQ(NumElements(Shape{}), 1);
  EXPECT_EQ(NumElements(Shape{3, 0, 2}), 0);
  EXPECT_EQ(NumElements(Shape{2, 3, 4}, 1, 3), 12);
}

TEST(NormalizeAxis, CountsFromTheEndAndRefusesOthers) {
  EXPECT_EQ(NormalizeAxis(-1, 3), 2);
  EXPECT_EQ(NormalizeAxis(0, 3), 0);
  EXPECT_THROW((void)NormalizeAxis(3, 3), InputError);
  EXPECT_THROW((void)NormalizeAxis(-4, 3), InputError);
}

TEST(NumElements, RefusesProductsThatNoMachineHolds) {
  EXPECT_EQ(NumElements(Shape{int64_t{1} << 40, 1 << 7}), int64_t{1} << 47);
  for (const Shape& shape : {Shape{int64_t{1} << 59, 16}, Shape{int64_t{1} << 32, int64_t{1} << 32},
                             Shape{int64_t{1} << 62, 4, 0}, Shape{0, int64_t{1} << 40},
                             Shape{-1, int64_t{1} << 62, 8}}) {
    EXPECT_THROW((void)NumElements(shape), InputError) << ToString(shape);
    EXPECT_THROW((void)RowMajorStrides(shape), InputError) << ToString(shape);
  }
  EXPECT_THROW((void)NumElements(Shape{2, 3}, 1, 3), InputError);
  EXPECT_THROW((void)NumElements(Shape{}, 0, -2), InputError);
}

TEST(Shape, RefusesDimensionsThatItDoesNotHave) {
  const Shape none, two = {2, 3};
  EXPECT_EQ(two[1], 3);
  EXPECT_THROW((void)two[2], InputError);
  EXPECT_THROW((void)none.back(), InputError);
  EXPECT_THROW((void)none.front(), InputError);
  Shape changed = two;
  changed.back() = 5;
  changed.pop_back();
  EXPECT_EQ(changed, (Shape{2}));
  changed.pop_back();
  EXPECT_THROW(changed.pop_back(), InputError);
}

TEST(MakeUp, AddsUpWithoutGoingTooFar) {
  EXPECT_TRUE(MakeUp(Shape{2, 0, 3}, 5));
  EXPECT_TRUE(MakeUp(Shape{}, 0));
  EXPECT_FALSE(MakeUp(Shape{2, 2}, 5));
  EXPECT_FALSE(MakeUp(Shape{6, -1}, 5));
  EXPECT_FALSE(MakeUp(Shape{INT64_MAX, INT64_MAX, 7}, 5));
}

}  // namespace
}  // namespace ptq
