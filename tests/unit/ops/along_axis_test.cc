// Operators that walk an axis in order: ArgMax and CumSum.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

TEST(ArgMax, FindsTheFirstOrTheLastExtreme) {
  const Tensor x = Floats({2, 3}, {5, 1, 5, 0, 2, 2});
  ExpectEqual(OpTest("ArgMax", 13).Int("axis", 1).Run({x}), Int64s({2, 1}, {0, 1}));
  ExpectEqual(OpTest("ArgMax", 13).Int("axis", -1).Int("select_last_index", 1).Run({x}),
              Int64s({2, 1}, {2, 2}));
  ExpectEqual(OpTest("ArgMin", 13).Int("axis", 0).Int("keepdims", 0).Run({x}),
              Int64s({3}, {1, 0, 1}));
}

TEST(ArgMax, RefusesToChooseFromNothing) {
  EXPECT_THROW((void)OpTest("ArgMax", 13).Int("axis", 1).Run({Tensor(DType::kFloat32, {2, 0})}),
               InputError);
  EXPECT_EQ(OpTest("ArgMax", 13).Int("axis", 1).Run({Tensor(DType::kFloat32, {0, 2})}).shape(),
            (Shape{0, 1}));
}

TEST(CumSum, RunsInBothDirectionsWithAndWithoutTheElementItself) {
  const Tensor x = Int64s({4}, {1, 2, 3, 4});
  const Tensor axis = Int64s({}, {0});
  ExpectEqual(OpTest("CumSum").Run({x, axis}), Int64s({4}, {1, 3, 6, 10}));
  ExpectEqual(OpTest("CumSum").Int("exclusive", 1).Run({x, axis}), Int64s({4}, {0, 1, 3, 6}));
  ExpectEqual(OpTest("CumSum").Int("reverse", 1).Run({x, axis}), Int64s({4}, {10, 9, 7, 4}));
  ExpectEqual(OpTest("CumSum").Int("reverse", 1).Int("exclusive", 1).Run({x, axis}),
              Int64s({4}, {9, 7, 4, 0}));
  ExpectEqual(OpTest("CumProd", 26).Run({x, axis}), Int64s({4}, {1, 2, 6, 24}));
}

TEST(CumSum, RunsAlongAMiddleAxis) {
  ExpectEqual(OpTest("CumSum").Run({Floats({1, 2, 2}, {1, 2, 3, 4}), Int64s({}, {-2})}),
              Floats({1, 2, 2}, {1, 2, 4, 6}));
}

}  // namespace
}  // namespace ptq::testing
