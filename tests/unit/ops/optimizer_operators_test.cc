// Operators that ONNX Runtime's transformer optimizer writes and that it runs on GPUs alone: values
// that follow from their description, with the plain operators as the reference.
#include <cmath>
#include <vector>

#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

Tensor Transposed(const Tensor& x, const std::vector<int64_t>& perm) {
  return OpTest("Transpose").Ints("perm", perm).Run({x});
}

// The buckets of Hugging Face's T5 for 8 buckets up to distance 20, computed with its code.
TEST(RelativePositionBias, UsesTheBucketsOfT5) {
  const Tensor table = Floats({8, 1}, {0, 1, 2, 3, 4, 5, 6, 7});
  const auto row = [&](int64_t both_ways, int64_t query) {
    const Tensor bias = OpTest("RelativePositionBias", 1, kMicrosoft)
                            .Int("max_distance", 20)
                            .Int("is_bidirectional", both_ways)
                            .Run({table, Int64s({1}, {25}), Int64s({1}, {25})});
    EXPECT_EQ(bias.shape(), (Shape{1, 1, 25, 25}));
    const auto values = Values<float>(bias);
    return std::vector<float>(values.begin() + query * 25, values.begin() + (query + 1) * 25);
  };
  EXPECT_EQ(row(1, 0), (std::vector<float>{0, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7,
                                           7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7}));
  EXPECT_EQ(row(0, 24), (std::vector<float>{7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 6,
                                            6, 6, 6, 5, 5, 5, 4, 4, 3, 2, 1, 0}));
}

TEST(GatedRelativePositionBias, GatesTheBiasOfEachQueryAsWavLm) {
  std::mt19937 random(7);
  const int64_t batches = 2, tokens = 3, heads = 2, size = 4, width = 8;
  const Tensor query = RandomFloats({batches, tokens, heads * size}, random);
  const Tensor query_bias = RandomFloats({heads * size}, random);
  const Tensor relative = RandomFloats({1, heads, tokens, tokens}, random);
  const Tensor weight = RandomFloats({size, width}, random);
  const Tensor bias = RandomFloats({width}, random);
  const Tensor scale = RandomFloats({1, heads, 1, 1}, random);
  const Tensor actual = OpTest("GatedRelativePositionBias", 1, kMicrosoft)
                            .Int("num_heads", heads)
                            .Run({query, query_bias, relative, weight, bias, scale});
  const auto at = [](const Tensor& x, int64_t i) {
    return x.data<float>()[static_cast<size_t>(i)];
  };
  Tensor expected(DType::kFloat32, {batches, heads, tokens, tokens});
  for (int64_t b = 0; b < batches; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        float sums[2] = {0, 0};
        for (int64_t j = 0; j < width; ++j) {
          float sum = at(bias, j);
          for (int64_t d = 0; d < size; ++d) {
            const int64_t channel = h * size + d;
            sum +=
                (at(query, (b * tokens + t) * heads * size + channel) + at(query_bias, channel)) *
                at(weight, d * width + j);
          }
          sums[j / (width / 2)] += sum;
        }
        const auto sigmoid = [](float x) { return 1 / (1 + std::exp(-x)); };
        const float gate = sigmoid(sums[0]) * (sigmoid(sums[1]) * at(scale, h) - 1) + 2;
        for (int64_t s = 0; s < tokens; ++s) {
          expected.mutable_data<float>()[static_cast<size_t>(
              ((b * heads + h) * tokens + t) * tokens + s)] =
              gate * at(relative, (h * tokens + t) * tokens + s);
        }
      }
    }
  }
  ExpectEqual(actual, expected, 1e-5f);
}

TEST(GroupNorm, IsGroupNormalizationInEitherLayout) {
  std::mt19937 random(8);
  const Tensor x = RandomFloats({2, 6, 3, 5}, random);
  const Tensor gamma = RandomFloats({6}, random);
  const Tensor beta = RandomFloats({6}, random);
  const Tensor plain = OpTest("GroupNormalization", 21).Int("num_groups", 3).Run({x, gamma, beta});
  const Tensor silu = OpTest("Swish", 24).Run({plain});
  const auto fused = [&](int64_t last, int64_t activation, const Tensor& input) {
    return OpTest("GroupNorm", 1, kMicrosoft)
        .Int("groups", 3)
        .Int("activation", activation)
        .Int("channels_last", last)
        .Run({input, gamma, beta});
  };
  ExpectEqual(fused(0, 0, x), plain, 1e-6f);
  ExpectEqual(fused(0, 1, x), silu, 1e-6f);
  ExpectEqual(fused(1, 1, Transposed(x, {0, 2, 3, 1})), Transposed(silu, {0, 2, 3, 1}), 1e-6f);
}

TEST(SkipGroupNorm, AddsSkipAndBiasFirst) {
  std::mt19937 random(9);
  const Tensor x = RandomFloats({2, 3, 5, 6}, random);
  const Tensor gamma = RandomFloats({6}, random);
  const Tensor beta = RandomFloats({6}, random);
  const Tensor bias = RandomFloats({6}, random);
  for (const Shape& shape : {Shape{2, 3, 5, 6}, Shape{2, 1, 1, 6}, Shape{2, 6}}) {
    const Tensor skip = RandomFloats(shape, random);
    const Tensor wide = shape.size() == 2 ? skip.Reshaped({2, 1, 1, 6}) : skip;
    const Tensor sum = OpTest("Add").Run({OpTest("Add").Run({x, wide}), bias});
    const auto outputs = OpTest("SkipGroupNorm", 1, kMicrosoft)
                             .Int("groups", 2)
                             .Int("activation", 1)
                             .Outputs(2)
                             .RunAll({x, gamma, beta, skip, bias});
    const Tensor norm = OpTest("GroupNorm", 1, kMicrosoft)
                            .Int("groups", 2)
                            .Int("activation", 1)
                            .Run({sum, gamma, beta});
    ExpectEqual(outputs[0], norm, 1e-6f);
    ExpectEqual(outputs[1], sum, 1e-6f);
  }
}

TEST(BiasSplitGelu, GatesTheLeftHalfByTheRight) {
  std::mt19937 random(10);
  const Tensor x = RandomFloats({2, 3, 8}, random);
  const Tensor bias = RandomFloats({8}, random);
  const Tensor sum = OpTest("Add").Run({x, bias});
  const auto halves =
      OpTest("Split", 18).Int("axis", -1).Int("num_outputs", 2).Outputs(2).RunAll({sum});
  const Tensor expected = OpTest("Mul").Run({halves[0], OpTest("Gelu").Run({halves[1]})});
  ExpectEqual(OpTest("BiasSplitGelu", 1, kMicrosoft).Run({x, bias}), expected, 1e-6f);
}

TEST(BiasSoftmax, IsASumAndTheSoftmaxOfItsTrailingAxes) {
  std::mt19937 random(11);
  const Tensor x = RandomFloats({2, 3, 4, 5}, random);
  const Tensor bias = RandomFloats({2, 1, 1, 5}, random);
  const Tensor expected = OpTest("Softmax", 13).Int("axis", -1).Run({OpTest("Add").Run({x, bias})});
  ExpectEqual(OpTest("BiasSoftmax", 1, kMicrosoft)
                  .Int("axis", 3)
                  .Int("is_inner_broadcast", 1)
                  .Run({x, bias}),
              expected, 1e-6f);
}

TEST(BiasDropout, AddsOutsideTraining) {
  std::mt19937 random(12);
  const Tensor x = RandomFloats({2, 4}, random);
  const Tensor bias = RandomFloats({4}, random);
  const Tensor residual = RandomFloats({2, 4}, random);
  const Tensor expected = OpTest("Add").Run({OpTest("Add").Run({x, bias}), residual});
  ExpectEqual(OpTest("BiasDropout", 1, kMicrosoft).Run({x, bias, residual}), expected, 1e-6f);
  EXPECT_THROW(OpTest("BiasDropout", 1, kMicrosoft)
                   .Run({x, bias, residual, Floats({}, {0.5f}), Bools({}, {true})}),
               UnsupportedError);
}

TEST(NhwcConv, IsConvWithTheChannelsLast) {
  std::mt19937 random(13);
  const Tensor x = RandomFloats({2, 4, 5, 6}, random);
  const Tensor w = RandomFloats({6, 2, 3, 3}, random);
  const Tensor bias = RandomFloats({6}, random);
  const auto build = [](const char* type, const char* domain) {
    return OpTest(type, domain[0] == 0 ? 21 : 1, domain).Int("group", 2).Ints("pads", {1, 0, 1, 2});
  };
  const Tensor expected = Transposed(build("Conv", "").Run({x, w, bias}), {0, 2, 3, 1});
  const Tensor last = Transposed(x, {0, 2, 3, 1});
  const Tensor weight = Transposed(w, {0, 2, 3, 1});
  ExpectEqual(build("NhwcConv", kMicrosoft).Run({last, weight, bias}), expected, 1e-5f);
  const Tensor relu = OpTest("Relu").Run({OpTest("Add").Run({expected, expected})});
  ExpectEqual(build("NhwcFusedConv", kMicrosoft)
                  .String("activation", "Relu")
                  .Run({last, weight, bias, expected}),
              relu, 1e-5f);
}

TEST(CreateKernel, SaysWhatToDoAboutAnOperatorThatWillNotBeRun) {
  const auto message = [](const char* type, const char* domain) -> std::string {
    try {
      (void)OpTest(type, 1, domain).Run({});
    } catch (const UnsupportedError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message("BeamSearch", kMicrosoft), ::testing::HasSubstr("decoder that is inside"));
  EXPECT_THAT(message("PackedAttention", kMicrosoft), ::testing::HasSubstr("GPUs alone"));
  EXPECT_THAT(message("Conv", "com.ms.internal.nhwc"), ::testing::HasSubstr("channels last"));
}

}  // namespace
}  // namespace ptq::testing
