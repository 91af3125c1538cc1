// Parts of a small matrix, taken, joined and stacked.
#include "ptq/tensor/along_axis.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

/// [2, 3]: 0 1 2 / 3 4 5.
Tensor Matrix() { return Tensor::From<int32_t>({2, 3}, {0, 1, 2, 3, 4, 5}); }

TEST(AlongAxis, TakesParts) {
  EXPECT_THAT(PartAlong(Matrix(), 1, 1, 2).data<int32_t>(), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(PartAlong(Matrix(), 0, 1, 1).data<int32_t>(), ElementsAre(3, 4, 5));
  EXPECT_EQ(PartAlong(Matrix(), 0, 2, 0).shape(), (Shape{0, 3}));
  const Tensor column = PlaceAlong(Matrix(), 1, 2);
  EXPECT_EQ(column.shape(), (Shape{2}));
  EXPECT_THAT(column.data<int32_t>(), ElementsAre(2, 5));
}

TEST(AlongAxis, JoinsWhatItTakesApart) {
  const std::array<Tensor, 3> parts = {PartAlong(Matrix(), 1, 0, 1), PartAlong(Matrix(), 1, 0, 0),
                                       PartAlong(Matrix(), 1, 1, 2)};
  const Tensor joined = JoinAlong(parts, -1);
  EXPECT_EQ(joined.shape(), Matrix().shape());
  EXPECT_THAT(joined.data<int32_t>(), ::testing::ElementsAreArray(Matrix().data<int32_t>()));
}

TEST(AlongAxis, StacksAlongANewAxis) {
  const std::array<Tensor, 2> rows = {PlaceAlong(Matrix(), 0, 0), PlaceAlong(Matrix(), 0, 1)};
  EXPECT_THAT(StackAlong(rows, 0).data<int32_t>(), ElementsAre(0, 1, 2, 3, 4, 5));
  const Tensor turned = StackAlong(rows, -1);
  EXPECT_EQ(turned.shape(), (Shape{3, 2}));
  EXPECT_THAT(turned.data<int32_t>(), ElementsAre(0, 3, 1, 4, 2, 5));
}

TEST(AlongAxis, RefusesWhatDoesNotFit) {
  const std::array<Tensor, 2> parts = {Matrix(), PartAlong(Matrix(), 1, 0, 1)};
  EXPECT_THROW((void)JoinAlong(parts, 0), InputError);
  EXPECT_THROW((void)StackAlong(parts, 0), InputError);
  EXPECT_THROW((void)JoinAlong({}, 0), InputError);
}

}  // namespace
}  // namespace ptq
