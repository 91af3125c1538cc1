// Operators that change or tell a shape.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

Shape Reshaped(Shape from, const std::vector<int64_t>& to, int64_t allow_zero = 0) {
  return OpTest("Reshape")
      .Int("allowzero", allow_zero)
      .Run({Tensor::Filled(std::move(from), 1.0f), Int64s(to)})
      .shape();
}

TEST(Reshape, CopiesZeroAndInfersMinusOne) {
  EXPECT_EQ(Reshaped({2, 3, 4}, {0, -1}), (Shape{2, 12}));
  EXPECT_EQ(Reshaped({2, 3, 4}, {4, 0, 2}), (Shape{4, 3, 2}));
  EXPECT_EQ(Reshaped({}, {1, 1}), (Shape{1, 1}));
  EXPECT_EQ(Reshaped({1}, {}), (Shape{}));
}

TEST(Reshape, KeepsZeroLengthPasts) {
  EXPECT_EQ(Reshaped({2, 4, 0, 8}, {0, 0, -1, 8}), (Shape{2, 4, 0, 8}));
  EXPECT_EQ(Reshaped({0, 4, 8}, {0, -1}), (Shape{0, 32}));
  EXPECT_EQ(Reshaped({3, 0}, {0, 7}, 1), (Shape{0, 7}));
}

TEST(Reshape, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(Reshaped({2, 3}, {4}), InputError);
  EXPECT_THROW(Reshaped({2, 3}, {4, -1}), InputError);
  EXPECT_THROW(Reshaped({2, 3}, {-1, -1}), InputError);
  EXPECT_THROW(Reshaped({2, 3}, {2, 3, 0}), InputError);
  EXPECT_THROW(Reshaped({2, 3}, {-2, 3}), InputError);
}

TEST(Flatten, CutsBeforeTheAxis) {
  const Tensor data = Tensor::Filled({2, 3, 4}, 1.0f);
  EXPECT_EQ(OpTest("Flatten").Run({data}).shape(), (Shape{2, 12}));
  EXPECT_EQ(OpTest("Flatten").Int("axis", 0).Run({data}).shape(), (Shape{1, 24}));
  EXPECT_EQ(OpTest("Flatten").Int("axis", 3).Run({data}).shape(), (Shape{24, 1}));
  EXPECT_EQ(OpTest("Flatten").Int("axis", -1).Run({data}).shape(), (Shape{6, 4}));
}

TEST(Squeeze, TakesAxesByAttributeInputOrNotAtAll) {
  const Tensor data = Tensor::Filled({1, 2, 1, 3}, 1.0f);
  EXPECT_EQ(OpTest("Squeeze", 11).Ints("axes", {0}).Run({data}).shape(), (Shape{2, 1, 3}));
  EXPECT_EQ(OpTest("Squeeze").Run({data, Int64s({-2})}).shape(), (Shape{1, 2, 3}));
  EXPECT_EQ(OpTest("Squeeze").Run({data}).shape(), (Shape{2, 3}));
  EXPECT_THROW((void)OpTest("Squeeze").Run({data, Int64s({1})}), InputError);
}

TEST(Unsqueeze, CountsAxesInTheResult) {
  const Tensor data = Tensor::Filled({2, 3}, 1.0f);
  EXPECT_EQ(OpTest("Unsqueeze", 11).Ints("axes", {3, 0}).Run({data}).shape(), (Shape{1, 2, 3, 1}));
  EXPECT_EQ(OpTest("Unsqueeze").Run({data, Int64s({-1})}).shape(), (Shape{2, 3, 1}));
  EXPECT_EQ(OpTest("Unsqueeze").Run({Tensor::Scalar(1.0f), Int64s({0})}).shape(), (Shape{1}));
  EXPECT_THROW((void)OpTest("Unsqueeze").Run({data, Int64s({0, 0})}), InputError);
}

TEST(Shape, ClampsStartAndEnd) {
  const Tensor data = Tensor::Filled({2, 0, 4}, 1.0f);
  ExpectEqual(OpTest("Shape").Run({data}), Int64s({2, 0, 4}));
  ExpectEqual(OpTest("Shape").Int("start", -1).Run({data}), Int64s({4}));
  ExpectEqual(OpTest("Shape").Int("start", 1).Int("end", 9).Run({data}), Int64s({0, 4}));
  ExpectEqual(OpTest("Shape").Int("start", 2).Int("end", 1).Run({data}), Int64s({}));
  ExpectEqual(OpTest("Size").Run({data}), Tensor::Scalar<int64_t>(0));
}

}  // namespace
}  // namespace ptq::testing
