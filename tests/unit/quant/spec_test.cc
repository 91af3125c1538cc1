// How groups are counted, and what codes mean.
#include "ptq/quant/spec.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(QuantSpec, CountsTheLastShortGroup) {
  QuantSpec spec;
  spec.group_size = 32;
  EXPECT_EQ(spec.GroupsFor(64), 2);
  EXPECT_EQ(spec.GroupsFor(65), 3);
  EXPECT_EQ(spec.GroupsFor(7), 1);
  spec.group_size = 0;
  EXPECT_EQ(spec.GroupsFor(65), 1);
  EXPECT_EQ(spec.GroupSizeFor(65), 65);
}

TEST(QuantizedMatrix, DequantizesEachGroupWithItsScaleAndZeroPoint) {
  QuantizedMatrix q;
  q.spec.bits = 4;
  q.spec.group_size = 2;
  q.n = 2;
  q.k = 3;
  q.codes = {0, 8, 15, 1, 2, 3};
  q.scales = {-0.5f, 2.0f, 1.0f, 0.25f};
  q.zero_points = {8, 8, 0, 7};
  std::vector<float> w(6);
  q.Dequantize(w.data());
  EXPECT_THAT(w, ::testing::ElementsAre(4.0f, 0.0f, 14.0f, 1.0f, 2.0f, -1.0f));
}

}  // namespace
}  // namespace ptq
