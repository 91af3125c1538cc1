// Normalisations against values worked out by hand and against each other.
#include <random>

#include "support/kernel_testing.h"

namespace ptq {
namespace {

using testing::ExpectEqual;
using testing::Floats;
using testing::OpTest;
using testing::RandomFloats;

TEST(LayerNormalization, CentersScalesAndReportsItsStatistics) {
  const Tensor x = Floats({1, 4}, {1, 3, 5, 7});
  const Tensor scale = Floats({4}, {1, 1, 2, 2});
  const Tensor bias = Floats({4}, {0, 1, 0, 1});
  const auto y =
      OpTest("LayerNormalization", 17).Float("epsilon", 0.0f).Outputs(3).RunAll({x, scale, bias});
  const float unit = 1.0f / std::sqrt(5.0f);
  ExpectEqual(y[0], Floats({1, 4}, {-3 * unit, -unit + 1, 2 * unit, 6 * unit + 1}), 1e-6f);
  ExpectEqual(y[1], Floats({1, 1}, {4}));
  ExpectEqual(y[2], Floats({1, 1}, {unit}), 1e-6f);
}

TEST(LayerNormalization, CoversAllDimensionsFromTheAxis) {
  std::mt19937 random(1);
  const Tensor x = RandomFloats({2, 3, 4}, random);
  const Tensor scale = RandomFloats({3, 4}, random);
  const auto whole = OpTest("LayerNormalization", 17).Int("axis", 1).Outputs(2).RunAll({x, scale});
  const Tensor flat =
      OpTest("LayerNormalization", 17).Run({x.Reshaped({2, 12}), scale.Reshaped({12})});
  ExpectEqual(whole[0], flat.Reshaped({2, 3, 4}));
  EXPECT_EQ(whole[1].shape(), (Shape{2, 1, 1}));
}

TEST(LayerNormalization, KeepsItsPrecisionFarFromZero) {
  std::mt19937 random(2);
  const Tensor x = RandomFloats({3, 64}, random);
  Tensor shifted = x;
  for (float& value : shifted.mutable_data<float>()) value += 4096.0f;
  const Tensor scale = Tensor::Filled<float>({64}, 1.0f);
  ExpectEqual(OpTest("LayerNormalization", 17).Run({shifted, scale}),
              OpTest("LayerNormalization", 17).Run({x, scale}), 2e-3f);
}

TEST(LayerNormalization, RefusesAScaleThatDoesNotBroadcast) {
  const Tensor x = Tensor::Filled<float>({2, 6}, 1.0f);
  EXPECT_THROW((void)OpTest("LayerNormalization", 17).Run({x, Tensor::Filled<float>({4}, 1.0f)}),
               InputError);
}

TEST(RmsNormalization, DividesByTheRootMeanSquare) {
  const Tensor x = Floats({2, 2}, {3, 4, 0, 0});
  const Tensor scale = Floats({2}, {1, 10});
  const float unit = 1.0f / std::sqrt(12.5f);
  const Tensor expected = Floats({2, 2}, {3 * unit, 40 * unit, 0, 0});
  ExpectEqual(OpTest("RMSNormalization", 23).Run({x, scale}), expected, 1e-5f);
  ExpectEqual(OpTest("SimplifiedLayerNormalization", 21).Run({x, scale}), expected, 1e-5f);
  ExpectEqual(OpTest("SimplifiedLayerNormalization", 1, "com.microsoft").Run({x, scale}), expected,
              1e-5f);
}

TEST(SkipNormalization, EqualsAdditionThenNormalisation) {
  std::mt19937 random(3);
  const Tensor x = RandomFloats({2, 3, 8}, random);
  const Tensor skip = RandomFloats({3, 8}, random);
  const Tensor gamma = RandomFloats({8}, random);
  const Tensor beta = RandomFloats({8}, random);
  const Tensor bias = RandomFloats({8}, random);
  const Tensor sum = OpTest("Add", 14).Run({OpTest("Add", 14).Run({x, skip}), bias});
  const auto full = OpTest("SkipLayerNormalization", 1, "com.microsoft")
                        .Float("epsilon", 1e-3f)
                        .Outputs(4)
                        .RunAll({x, skip, gamma, beta, bias});
  ExpectEqual(full[3], sum, 1e-6f);
  ExpectEqual(full[0],
              OpTest("LayerNormalization", 17).Float("epsilon", 1e-3f).Run({sum, gamma, beta}),
              1e-6f);
  const auto simple = OpTest("SkipSimplifiedLayerNormalization", 1, "com.microsoft")
                          .Float("epsilon", 1e-3f)
                          .RunAll({x, skip, gamma, bias});
  ExpectEqual(simple[0], OpTest("RMSNormalization", 23).Float("epsilon", 1e-3f).Run({sum, gamma}),
              1e-6f);
  EXPECT_THROW((void)OpTest("SkipLayerNormalization", 1, "com.microsoft")
                   .Run({x, RandomFloats({5, 8}, random), gamma}),
               InputError);
}

TEST(EmbedLayerNormalization, AddsRowsOfTheTablesAndCountsTheMask) {
  const Tensor ids = Tensor::From<int32_t>({1, 2}, {1, 0});
  const Tensor segments = Tensor::From<int32_t>({1, 2}, {0, 1});
  const Tensor words = Floats({2, 2}, {1, 2, 3, 5});
  const Tensor positions = Floats({3, 2}, {10, 20, 30, 40, 50, 60});
  const Tensor kinds = Floats({2, 2}, {100, 200, 300, 400});
  const Tensor gamma = Floats({2}, {1, 1}), beta = Floats({2}, {0, 0.5f});
  const Tensor mask = Tensor::From<int32_t>({1, 2}, {1, 0});
  const auto out = OpTest("EmbedLayerNormalization", 1, "com.microsoft")
                       .Outputs(3)
                       .RunAll({ids, segments, words, positions, kinds, gamma, beta, mask});
  ExpectEqual(out[2], Floats({1, 2, 2}, {113, 225, 331, 442}));
  ExpectEqual(out[0], Floats({1, 2, 2}, {-1, 1.5f, -1, 1.5f}), 1e-5f);
  ExpectEqual(out[1], Tensor::From<int32_t>({1}, {1}));
  const Tensor outside = Tensor::From<int32_t>({1, 2}, {2, 0});
  EXPECT_THROW((void)OpTest("EmbedLayerNormalization", 1, "com.microsoft")
                   .Run({outside, {}, words, positions, {}, gamma, beta}),
               InputError);
}

TEST(ChannelNormalization, OneGroupPerChannelIsInstanceNormalization) {
  std::mt19937 random(4);
  const Tensor x = RandomFloats({2, 4, 5, 3}, random);
  const Tensor scale = RandomFloats({4}, random), bias = RandomFloats({4}, random);
  const Tensor instance = OpTest("InstanceNormalization", 6).Run({x, scale, bias});
  ExpectEqual(OpTest("GroupNormalization", 21).Int("num_groups", 4).Run({x, scale, bias}),
              instance);
  ExpectEqual(OpTest("GroupNormalization", 18).Int("num_groups", 4).Run({x, scale, bias}),
              instance);
  EXPECT_THROW((void)OpTest("GroupNormalization", 21).Int("num_groups", 3).Run({x, scale, bias}),
               InputError);
}

TEST(BatchNormalization, UsesTheGivenStatistics) {
  const Tensor x = Floats({1, 2, 2}, {1, 2, 3, 4});
  const Tensor y = OpTest("BatchNormalization", 15)
                       .Float("epsilon", 0.0f)
                       .Run({x, Floats({2}, {2, 1}), Floats({2}, {0, 1}), Floats({2}, {1, 3}),
                             Floats({2}, {4, 1})});
  ExpectEqual(y, Floats({1, 2, 2}, {0, 1, 1, 2}));
}

}  // namespace
}  // namespace ptq
