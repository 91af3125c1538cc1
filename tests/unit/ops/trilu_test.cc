// The triangles of matrices.
#include <limits>

#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

TEST(Trilu, KeepsOneSideOfTheDiagonal) {
  const Tensor data = Floats({1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const auto run = [&](int64_t upper, int64_t k) {
    return OpTest("Trilu").Int("upper", upper).Run({data, Tensor::Scalar(k)});
  };
  ExpectEqual(OpTest("Trilu").Run({data}), Floats({1, 3, 3}, {1, 2, 3, 0, 5, 6, 0, 0, 9}));
  ExpectEqual(run(1, 1), Floats({1, 3, 3}, {0, 2, 3, 0, 0, 6, 0, 0, 0}));
  ExpectEqual(run(0, -1), Floats({1, 3, 3}, {0, 0, 0, 4, 0, 0, 7, 8, 0}));
  ExpectEqual(run(0, 100), data);
  ExpectEqual(run(1, std::numeric_limits<int64_t>::max()), Tensor::Filled({1, 3, 3}, 0.0f));
}

}  // namespace
}  // namespace ptq::testing
