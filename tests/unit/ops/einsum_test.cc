// What equations name: products, sums, diagonals and broadcasts; and those that do not fit.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

Tensor Einsum(const std::string& equation, std::vector<Tensor> inputs) {
  return OpTest("Einsum", 12).String("equation", equation).Run(std::move(inputs));
}

TEST(Einsum, IsAMatrixProductOverASharedLabel) {
  std::mt19937 random(1);
  const Tensor a = RandomFloats({2, 3, 4}, random);
  const Tensor b = RandomFloats({2, 4, 5}, random);
  const Tensor expected = OpTest("MatMul").Run({a, b});
  ExpectEqual(Einsum("bij,bjk->bik", {a, b}), expected, 1e-5f);
  ExpectEqual(Einsum("...ij,...jk", {a, b}), expected, 1e-5f);
  const Tensor swapped = OpTest("Transpose").Ints("perm", {0, 2, 1}).Run({b});
  ExpectEqual(Einsum("bij, bkj -> bik", {a, swapped}), expected, 1e-5f);
}

TEST(Einsum, SumsTransposesAndTakesDiagonals) {
  const Tensor x = Floats({2, 2}, {1, 2, 3, 4});
  ExpectEqual(Einsum("ij->ji", {x}), Floats({2, 2}, {1, 3, 2, 4}));
  ExpectEqual(Einsum("ij->i", {x}), Floats({2}, {3, 7}));
  ExpectEqual(Einsum("ii->i", {x}), Floats({2}, {1, 4}));
  ExpectEqual(Einsum("ii", {x}), Floats({}, {5}));
  ExpectEqual(Einsum("ba", {x}), Floats({2, 2}, {1, 3, 2, 4}));  // implicit results are sorted
}

TEST(Einsum, FoldsThreeOperandsAndOuterProducts) {
  const Tensor x = Floats({2}, {1, 2});
  const Tensor y = Floats({3}, {1, 10, 100});
  ExpectEqual(Einsum("i,j->ij", {x, y}), Floats({2, 3}, {1, 10, 100, 2, 20, 200}));
  ExpectEqual(Einsum("i,j,i->j", {x, y, x}), Floats({3}, {5, 50, 500}));
}

TEST(Einsum, BroadcastsDimensionsOfOneElement) {
  const Tensor a = Floats({1, 2}, {1, 2});
  const Tensor b = Floats({2, 2}, {1, 2, 3, 4});
  ExpectEqual(Einsum("...i,...i->...", {a, b}), Floats({2}, {5, 11}));
}

TEST(Einsum, RefusesEquationsThatDoNotFit) {
  const Tensor x = Floats({2, 2}, {1, 2, 3, 4});
  EXPECT_THROW((void)Einsum("ijk->i", {x}), InputError);
  EXPECT_THROW((void)Einsum("ij,jk->ik", {x}), InputError);
  EXPECT_THROW((void)Einsum("ij->k", {x}), InputError);
  EXPECT_THROW((void)Einsum("i?->i", {x}), InputError);
}

}  // namespace
}  // namespace ptq::testing
