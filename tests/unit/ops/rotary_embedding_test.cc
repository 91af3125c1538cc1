// Rotations by known angles, of whole heads and of parts.
#include <random>

#include "support/kernel_testing.h"

namespace ptq {
namespace {

using testing::ExpectEqual;
using testing::Floats;
using testing::Int64s;
using testing::OpTest;
using testing::RandomFloats;
using testing::Values;

TEST(RotaryEmbedding, TurnsAQuarterInHalvesOrInPairs) {
  const Tensor x = Floats({1, 1, 1, 4}, {1, 2, 3, 4});
  const Tensor cosine = Floats({1, 1, 2}, {0, 0});
  const Tensor sine = Floats({1, 1, 2}, {1, 1});
  ExpectEqual(OpTest("RotaryEmbedding", 23).Run({x, cosine, sine}),
              Floats({1, 1, 1, 4}, {-3, -4, 1, 2}));
  ExpectEqual(OpTest("RotaryEmbedding", 23).Int("interleaved", 1).Run({x, cosine, sine}),
              Floats({1, 1, 1, 4}, {-2, 1, -4, 3}));
}

TEST(RotaryEmbedding, LeavesTheRestOfAPartiallyRotatedHead) {
  const Tensor x = Floats({1, 1, 6}, {1, 2, 3, 4, 5, 6});
  const Tensor cosine = Floats({2, 1}, {1, 0});
  const Tensor sine = Floats({2, 1}, {0, 1});
  const Tensor position = Int64s({1, 1}, {1});
  ExpectEqual(OpTest("RotaryEmbedding", 1, "com.microsoft")
                  .Int("num_heads", 2)
                  .Int("rotary_embedding_dim", 2)
                  .Run({x, position, cosine, sine}),
              Floats({1, 1, 6}, {-2, 1, 3, -5, 4, 6}));
}

TEST(RotaryEmbedding, ProductsDependOnTheDistanceOfPositionsOnly) {
  std::mt19937 random(1);
  const int64_t size = 8, length = 40;
  Tensor cosine(DType::kFloat32, {length, size / 2}), sine(DType::kFloat32, {length, size / 2});
  for (int64_t i = 0; i < length * size / 2; ++i) {
    const double angle =
        static_cast<double>(i / (size / 2)) / std::pow(100.0, i % (size / 2) / 4.0);
    cosine.mutable_data<float>()[static_cast<size_t>(i)] = static_cast<float>(std::cos(angle));
    sine.mutable_data<float>()[static_cast<size_t>(i)] = static_cast<float>(std::sin(angle));
  }
  const Tensor q = RandomFloats({1, 1, 1, size}, random);
  const Tensor k = RandomFloats({1, 1, 1, size}, random);
  const auto product = [&](int64_t m, int64_t n) {
    const auto turn = [&](const Tensor& x, int64_t position) {
      return Values<float>(
          OpTest("RotaryEmbedding", 23).Run({x, cosine, sine, Int64s({1, 1}, {position})}));
    };
    const auto a = turn(q, m), b = turn(k, n);
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
  };
  EXPECT_NEAR(product(7, 3), product(35, 31), 1e-5);
  EXPECT_GT(std::abs(product(7, 3) - product(7, 4)), 1e-3);
}

TEST(RotaryEmbedding, OneContribPositionIsThatOfTheFirstToken) {
  std::mt19937 random(2);
  const Tensor x = RandomFloats({2, 3, 8}, random);
  const Tensor cosine = RandomFloats({9, 2}, random);
  const Tensor sine = RandomFloats({9, 2}, random);
  const auto run = [&](const Tensor& positions) {
    return OpTest("RotaryEmbedding", 1, "com.microsoft").Run({x, positions, cosine, sine});
  };
  ExpectEqual(run(Int64s({1}, {4})), run(Int64s({2, 3}, {4, 5, 6, 4, 5, 6})));
}

TEST(RotaryEmbedding, RefusesPositionsOutsideTheTablesAndOtherWidths) {
  const Tensor x = Tensor::Filled<float>({1, 1, 1, 4}, 1.0f);
  const Tensor table = Tensor::Filled<float>({3, 2}, 1.0f);
  const Tensor wide = Tensor::Filled<float>({3, 4}, 1.0f);
  EXPECT_THROW((void)OpTest("RotaryEmbedding", 23).Run({x, table, table, Int64s({1, 1}, {3})}),
               InputError);
  EXPECT_THROW((void)OpTest("RotaryEmbedding", 23).Run({x, wide, wide, Int64s({1, 1}, {0})}),
               InputError);
}

TEST(RotaryEmbedding, DoesNotChangeAnInputThatOthersUse) {
  const Tensor x = Floats({1, 1, 1, 2}, {1, 2});
  const Tensor table = Floats({1, 1, 1}, {0.5f});
  (void)OpTest("RotaryEmbedding", 23).Run({x, table, table});
  ExpectEqual(x, Floats({1, 1, 1, 2}, {1, 2}));
}

}  // namespace
}  // namespace ptq
