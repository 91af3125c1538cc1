// Where the extremes along an axis are.
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

}  // namespace
}  // namespace ptq::testing
