// Running sums and products along an axis.
#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

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
