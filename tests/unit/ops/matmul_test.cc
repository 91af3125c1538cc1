// Matrix products of all forms against sums in double.
#include <cmath>

#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

/// One product of the definition in double: both operands [batch, rows, cols].
Tensor Reference(const Tensor& a, const Tensor& b, double alpha = 1.0) {
  const int64_t batch = a.dim(0), m = a.dim(1), k = a.dim(2), n = b.dim(2);
  Tensor out(DType::kFloat32, {batch, m, n});
  const auto to = out.mutable_data<float>();
  for (int64_t i = 0; i < batch * m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += double{a.data<float>()[size_t(i * k + l)]} *
               double{b.data<float>()[size_t((i / m * k + l) * n + j)]};
      }
      to[size_t(i * n + j)] = static_cast<float>(alpha * sum);
    }
  }
  return out;
}

/// The last two axes swapped.
Tensor Swapped(const Tensor& x) { return OpTest("Transpose").Ints("perm", {0, 2, 1}).Run({x}); }

TEST(MatMul, FlattensBatchesOverOneWeight) {
  std::mt19937 random(1);
  const Tensor a = RandomFloats({3, 5, 7}, random);
  const Tensor b = RandomFloats({1, 7, 4}, random);
  const Tensor all = OpTest("Expand").Run({b, Int64s({3, 7, 4})});
  const Tensor expected = Reference(a, all);
  ExpectEqual(OpTest("MatMul").Run({a, b.Reshaped({7, 4})}), expected, 1e-5f);
  ExpectEqual(OpTest("MatMul").Run({a, b}), expected, 1e-5f);
}

TEST(MatMul, BroadcastsBatches) {
  std::mt19937 random(2);
  const Tensor a = RandomFloats({2, 1, 3, 5}, random);
  const Tensor b = RandomFloats({4, 5, 6}, random);
  const Tensor a_all = OpTest("Expand").Run({a, Int64s({2, 4, 3, 5})}).Reshaped({8, 3, 5});
  const Tensor b_all = OpTest("Expand").Run({b, Int64s({2, 4, 5, 6})}).Reshaped({8, 5, 6});
  ExpectEqual(OpTest("MatMul").Run({a, b}), Reference(a_all, b_all).Reshaped({2, 4, 3, 6}), 1e-5f);
}

TEST(MatMul, ReadsVectorsAsRowAndColumn) {
  const Tensor v = Floats({2}, {1, 2});
  const Tensor m = Floats({2, 2}, {1, 2, 3, 4});
  ExpectEqual(OpTest("MatMul").Run({v, m}), Floats({2}, {7, 10}));
  ExpectEqual(OpTest("MatMul").Run({m, v}), Floats({2}, {5, 11}));
  ExpectEqual(OpTest("MatMul").Run({v, v}), Floats({}, {5}));
  ExpectEqual(OpTest("MatMul").Run({v, m.Reshaped({1, 2, 2})}), Floats({1, 2}, {7, 10}));
}

TEST(MatMul, HandlesZeroSizes) {
  const auto shape = [](Shape a, Shape b) {
    return OpTest("MatMul").Run({Tensor(DType::kFloat32, a), Tensor(DType::kFloat32, b)}).shape();
  };
  EXPECT_EQ(shape({2, 0, 3}, {3, 4}), (Shape{2, 0, 4}));
  EXPECT_EQ(shape({0, 2, 3}, {0, 3, 4}), (Shape{0, 2, 4}));
  ExpectEqual(
      OpTest("MatMul").Run({Tensor(DType::kFloat32, {2, 0}), Tensor(DType::kFloat32, {0, 1})}),
      Floats({2, 1}, {0, 0}));
}

TEST(MatMul, MultipliesIntegers) {
  ExpectEqual(OpTest("MatMul").Run({Int64s({1, 2}, {1, 2}), Int64s({2, 2}, {1, 2, 3, 4})}),
              Int64s({1, 2}, {7, 10}));
}

TEST(MatMul, RefusesShapesThatDoNotFit) {
  EXPECT_THROW((void)OpTest("MatMul").Run({Floats({1, 2}, {1, 2}), Floats({1, 2}, {1, 2})}),
               InputError);
}

TEST(FusedMatMul, TransposesAndScales) {
  std::mt19937 random(3);
  const Tensor a = RandomFloats({4, 3, 5}, random);
  const Tensor b = RandomFloats({4, 5, 6}, random);
  const Tensor expected = Reference(a, b, 0.25);
  const auto fused = [] { return OpTest("FusedMatMul", 1, "com.microsoft").Float("alpha", 0.25f); };
  ExpectEqual(fused().Run({a, b}), expected, 1e-5f);
  ExpectEqual(fused().Int("transA", 1).Run({Swapped(a), b}), expected, 1e-5f);
  ExpectEqual(fused().Int("transB", 1).Run({a, Swapped(b)}), expected, 1e-5f);
  // [M, batch, K]: the first dimension moves behind the batch.
  const Tensor rows_first = OpTest("Transpose").Ints("perm", {1, 0, 2}).Run({a});
  ExpectEqual(fused().Int("transBatchA", 1).Run({rows_first, b}), expected, 1e-5f);
  const Tensor b_first = OpTest("Transpose").Ints("perm", {1, 0, 2}).Run({b});
  ExpectEqual(fused().Int("transBatchB", 1).Run({a, b_first}), expected, 1e-5f);
  const Tensor b_both = OpTest("Transpose").Ints("perm", {2, 0, 1}).Run({b});
  ExpectEqual(fused().Int("transBatchB", 1).Int("transB", 1).Run({a, b_both}), expected, 1e-5f);
}

TEST(Gemm, AddsABroadcastAddend) {
  const Tensor a = Floats({2, 2}, {1, 2, 3, 4});
  const Tensor b = Floats({2, 3}, {1, 0, 2, 0, 1, 3});
  // A·B = [[1, 2, 8], [3, 4, 18]]
  ExpectEqual(OpTest("Gemm").Run({a, b}), Floats({2, 3}, {1, 2, 8, 3, 4, 18}));
  ExpectEqual(OpTest("Gemm").Run({a, b, Floats({3}, {1, 2, 3})}),
              Floats({2, 3}, {2, 4, 11, 4, 6, 21}));
  ExpectEqual(
      OpTest("Gemm").Float("alpha", 2).Float("beta", 0.5f).Run({a, b, Floats({2, 1}, {2, 4})}),
      Floats({2, 3}, {3, 5, 17, 8, 10, 38}));
  ExpectEqual(OpTest("Gemm").Run({a, b, Floats({}, {1})}), Floats({2, 3}, {2, 3, 9, 4, 5, 19}));
}

TEST(Gemm, ReadsTransposedOperands) {
  const Tensor a = Floats({2, 2}, {1, 2, 3, 4});
  const Tensor b = Floats({3, 2}, {1, 0, 0, 1, 2, 3});
  ExpectEqual(OpTest("Gemm").Int("transB", 1).Run({a, b}), Floats({2, 3}, {1, 2, 8, 3, 4, 18}));
  ExpectEqual(
      OpTest("Gemm").Int("transA", 1).Int("transB", 1).Run({Floats({2, 2}, {1, 3, 2, 4}), b}),
      Floats({2, 3}, {1, 2, 8, 3, 4, 18}));
}

TEST(Gemm, WithNothingToSumGivesTheAddend) {
  const Tensor a(DType::kFloat32, {2, 0});
  const Tensor b(DType::kFloat32, {0, 2});
  ExpectEqual(OpTest("Gemm").Run({a, b}), Floats({2, 2}, {0, 0, 0, 0}));
  ExpectEqual(OpTest("Gemm").Run({a, b, Floats({2}, {1, 2})}), Floats({2, 2}, {1, 2, 1, 2}));
}

TEST(FusedGemm, AppliesTheActivation) {
  ExpectEqual(OpTest("FusedGemm", 1, "com.microsoft")
                  .String("activation", "LeakyRelu")
                  .Float("activation_alpha", 0.5f)
                  .Run({Floats({1, 1}, {2}), Floats({1, 2}, {1, -1})}),
              Floats({1, 2}, {2, -1}));
}

}  // namespace
}  // namespace ptq::testing
