// The attention operators against naive loops and against each other.
#include <random>

#include "support/kernel_testing.h"

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

using testing::ExpectEqual;
using testing::Floats;
using testing::Int64s;
using testing::kInfinity;
using testing::OpTest;
using testing::RandomFloats;
using testing::Values;

/// What a naive attention needs to know; tensors [B, H, T, D].
struct Naive {
  bool causal = false;
  int64_t left = -1;
  int64_t right = -1;
  float softcap = 0.0f;
  float scale = 0.0f;
  int64_t offset = 0;
  Tensor bias = {};  ///< [B, H, T, S] or undefined
  Tensor sinks = {};

  [[nodiscard]] Tensor Run(const Tensor& q, const Tensor& k, const Tensor& v) const {
    const int64_t batches = q.dim(0), heads = q.dim(1), queries = q.dim(2), size = q.dim(3);
    const int64_t keys = k.dim(2), value_size = v.dim(3), group = heads / k.dim(1);
    Tensor out(DType::kFloat32, {batches, heads, queries, value_size});
    float* y = out.mutable_data<float>().data();
    for (int64_t row = 0; row < batches * heads * queries; ++row) {
      const int64_t t = row % queries, h = row / queries % heads, b = row / queries / heads;
      const int64_t kv = b * k.dim(1) + h / group;
      std::vector<double> p(static_cast<size_t>(keys), -kInfinity);
      for (int64_t s = 0; s < keys; ++s) {
        const int64_t at = t + offset;
        if ((causal && s > at) || (left >= 0 && s < at - left) || (right >= 0 && s > at + right)) {
          continue;
        }
        double x = 0;
        for (int64_t d = 0; d < size; ++d) {
          x += static_cast<double>(q.data<float>()[static_cast<size_t>(row * size + d)]) *
               k.data<float>()[static_cast<size_t>((kv * keys + s) * size + d)];
        }
        x *= scale != 0.0f ? scale : 1.0 / std::sqrt(static_cast<double>(size));
        if (softcap > 0) x = softcap * std::tanh(x / softcap);
        if (bias.defined()) x += bias.data<float>()[static_cast<size_t>(row * keys + s)];
        p[static_cast<size_t>(s)] = x;
      }
      double sum = sinks.defined() ? std::exp(sinks.data<float>()[static_cast<size_t>(h)]) : 0.0;
      for (double& x : p) sum += (x = std::exp(x));
      for (int64_t d = 0; d < value_size; ++d) {
        double total = 0;
        for (int64_t s = 0; s < keys; ++s) {
          total += p[static_cast<size_t>(s)] *
                   v.data<float>()[static_cast<size_t>((kv * keys + s) * value_size + d)];
        }
        *y++ = sum > 0 ? static_cast<float>(total / sum) : 0.0f;
      }
    }
    return out;
  }
};

TEST(Attention, MatchesNaiveLoopsOnRandomShapesAndRules) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto pick = [&](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    const int64_t kv = pick(1, 3), heads = kv * pick(1, 3), batches = pick(1, 2);
    const int64_t queries = pick(1, seed % 7 == 0 ? 150 : 9), past = pick(0, 6);
    const int64_t keys = past + queries + pick(0, 2);  // the last ones are nobody's past
    const int64_t size = pick(1, 9), value_size = pick(1, 9);
    Naive naive{.causal = pick(0, 1) == 1,
                .left = pick(-1, 4),
                .right = pick(-1, 3),
                .softcap = pick(0, 1) == 1 ? 1.5f : 0.0f,
                .scale = pick(0, 1) == 1 ? 0.7f : 0.0f,
                .offset = past};
    const Tensor q = RandomFloats({batches, heads, queries, size}, random);
    const Tensor k = RandomFloats({batches, kv, keys, size}, random);
    const Tensor v = RandomFloats({batches, kv, keys, value_size}, random);
    if (pick(0, 1) == 1) naive.bias = RandomFloats({batches, heads, queries, keys}, random);
    OpTest op("Attention", 25);
    op.Int("is_causal", naive.causal).Int("left_window_size", naive.left);
    op.Int("right_window_size", naive.right).Float("softcap", naive.softcap);
    if (naive.scale != 0.0f) op.Float("scale", naive.scale);
    // The first `past` tokens of k and v come in as the cache.
    const auto part = [&](const Tensor& all, int64_t begin, int64_t end) {
      return OpTest("Slice", 13).Run({all, Int64s({begin}), Int64s({end}), Int64s({int64_t{2}})});
    };
    const auto outputs = op.Outputs(3).RunAll({q, part(k, past, keys), part(v, past, keys),
                                               naive.bias, part(k, 0, past), part(v, 0, past)});
    ExpectEqual(outputs[0], naive.Run(q, k, v), 2e-5f);
    ExpectEqual(outputs[1], k);
    ExpectEqual(outputs[2], v);
  }
}

TEST(Attention, DoesNotDependOnTheNumberOfThreads) {
  std::mt19937 random(1);
  const Tensor q = RandomFloats({2, 6, 300, 16}, random);
  const Tensor k = RandomFloats({2, 3, 300, 16}, random);
  const auto run = [&](int threads) {
    const ThreadLimit limit(threads);
    return OpTest("Attention", 23).Int("is_causal", 1).Run({q, k, k});
  };
  ExpectEqual(run(4), run(1));
}

TEST(Attention, GivesZerosToAQueryThatMayUseNoKey) {
  std::mt19937 random(2);
  const Tensor q = RandomFloats({1, 1, 2, 4}, random);
  const Tensor mask = testing::Bools({2, 2}, {false, false, true, false});
  const Tensor y = OpTest("Attention", 23).Run({q, q, q, mask});
  const auto values = Values<float>(y);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(values[i], 0.0f);
    EXPECT_NEAR(values[4 + i], Values<float>(q)[i], 1e-6f);
  }
}

TEST(Attention, PadsAShortMaskWithMinusInfinity) {
  std::mt19937 random(3);
  const Tensor q = RandomFloats({1, 1, 2, 4}, random);
  const Tensor k = RandomFloats({1, 1, 3, 4}, random);
  const Tensor full = Floats({1, 3}, {0.5f, -1.0f, -kInfinity});
  const Tensor shorter = Floats({1, 2}, {0.5f, -1.0f});
  ExpectEqual(OpTest("Attention", 24).Run({q, k, k, shorter}),
              OpTest("Attention", 24).Run({q, k, k, full}));
}

TEST(Attention, IgnoresKeysBeyondTheNonPaddingLength) {
  std::mt19937 random(4);
  const Tensor q = RandomFloats({2, 2, 2, 4}, random);
  Tensor k = RandomFloats({2, 2, 5, 4}, random);
  const Tensor lengths = Int64s({2}, {3, 3});
  const auto run = [&] {
    return OpTest("Attention", 24).Int("is_causal", 1).Run({q, k, k, {}, {}, {}, lengths});
  };
  const Tensor before = run();
  auto values = k.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (i / 4 % 5 >= 3) values[i] = 1000.0f;
  }
  ExpectEqual(run(), before);
}

TEST(Attention, TakesEmptyTensors) {
  const Tensor none(DType::kFloat32, {1, 2, 0, 4});
  const Tensor some = Tensor::Filled<float>({1, 2, 3, 4}, 1.0f);
  EXPECT_EQ(OpTest("Attention", 23).Run({none, some, some}).shape(), (Shape{1, 2, 0, 4}));
  ExpectEqual(OpTest("Attention", 23).Run({some, none, none}),
              Tensor::Filled<float>({1, 2, 3, 4}, 0.0f));
}

TEST(Attention, RefusesShapesThatDoNotBelongTogether) {
  const Tensor a = Tensor::Filled<float>({1, 2, 3, 4}, 1.0f);
  const Tensor b = Tensor::Filled<float>({1, 2, 3, 5}, 1.0f);
  const Tensor flat = Tensor::Filled<float>({1, 3, 8}, 1.0f);
  EXPECT_THROW((void)OpTest("Attention", 23).Run({a, b, b}), InputError);
  EXPECT_THROW((void)OpTest("Attention", 23).Run({flat, flat, flat}), InputError);
  EXPECT_THROW((void)OpTest("Attention", 23).Run({a, a, a, b}), InputError);
}

/// GroupQueryAttention with two query heads per key head, [B, T, C] in and out.
OpTest Grouped() {
  OpTest op("GroupQueryAttention", 1, "com.microsoft");
  op.Int("num_heads", 4).Int("kv_num_heads", 2).Outputs(3);
  return op;
}

Tensor Int32s(Shape shape, std::initializer_list<int32_t> values) {
  return Tensor::From<int32_t>(std::move(shape), values);
}

TEST(GroupQueryAttention, StepByStepEqualsThePromptAtOnce) {
  std::mt19937 random(5);
  const int64_t tokens = 6, size = 4;
  const Tensor q = RandomFloats({1, tokens, 4 * size}, random);
  const Tensor k = RandomFloats({1, tokens, 2 * size}, random);
  const Tensor v = RandomFloats({1, tokens, 2 * size}, random);
  const Tensor cosine = RandomFloats({16, size / 2}, random);
  const Tensor sine = RandomFloats({16, size / 2}, random);
  const auto op = Grouped().Int("do_rotary", 1).Int("local_window_size", 3);
  const auto all = op.RunAll({q, k, v, {}, {}, Int32s({1}, {5}), Int32s({}, {6}), cosine, sine});
  Tensor past_key, past_value;
  for (int64_t t = 0; t < tokens; ++t) {
    const auto token = [&](const Tensor& x) {
      return OpTest("Slice", 13).Run({x, Int64s({t}), Int64s({t + 1}), Int64s({int64_t{1}})});
    };
    const auto step = op.RunAll({token(q), token(k), token(v), past_key, past_value,
                                 Int32s({1}, {static_cast<int32_t>(t)}),
                                 Int32s({}, {static_cast<int32_t>(t + 1)}), cosine, sine});
    ExpectEqual(step[0], token(all[0]), 1e-6f);
    past_key = step[1];
    past_value = step[2];
  }
  ExpectEqual(past_key, all[1]);
  ExpectEqual(past_value, all[2]);
}

TEST(GroupQueryAttention, NormalisesHeadsBeforeTheRotation) {
  std::mt19937 random(6);
  const Tensor q = RandomFloats({1, 3, 16}, random);
  const Tensor k = RandomFloats({1, 3, 8}, random);
  const Tensor weight = RandomFloats({4}, random);
  const auto normalised = [&](const Tensor& x) {
    const Tensor heads = x.Reshaped({1, 3, x.dim(2) / 4, 4});
    return OpTest("RMSNormalization", 23)
        .Float("epsilon", 1e-6f)
        .Run({heads, weight})
        .Reshaped(x.shape());
  };
  const Tensor length = Int32s({1}, {2}), total = Int32s({}, {3}), none;
  const auto fused = Grouped().RunAll(
      {q, k, k, {}, {}, length, total, none, none, none, none, none, none, none, weight, weight});
  const auto apart = Grouped().RunAll({normalised(q), normalised(k), k, {}, {}, length, total});
  ExpectEqual(fused[0], apart[0], 1e-6f);
  ExpectEqual(fused[1], apart[1], 1e-6f);
}

TEST(GroupQueryAttention, SinksTakePartOfTheProbability) {
  std::mt19937 random(7);
  const Tensor q = RandomFloats({1, 3, 16}, random);
  const Tensor k = RandomFloats({1, 3, 8}, random);
  const Tensor sinks = RandomFloats({4}, random);
  const auto heads = [](const Tensor& x) {
    return OpTest("Transpose", 13)
        .Ints("perm", {0, 2, 1, 3})
        .Run({x.Reshaped({x.dim(0), x.dim(1), x.dim(2) / 4, 4})});
  };
  const Tensor y = Grouped().RunAll(
      {q, k, k, {}, {}, Int32s({1}, {2}), Int32s({}, {3}), {}, {}, {}, {}, sinks})[0];
  const Naive naive{.causal = true, .sinks = sinks};
  ExpectEqual(heads(y), naive.Run(heads(q), heads(k), heads(k)), 1e-6f);
}

TEST(GroupQueryAttention, NamesWhatItCannotRun) {
  const auto make = [](OpTest op) { (void)CreateKernel(Node(op.proto(), 1)); };
  EXPECT_THROW(make(Grouped().String("k_quant_type", "PER_TENSOR")), UnsupportedError);
  EXPECT_THROW(make(Grouped().Int("sliding_window_cache", 1)), UnsupportedError);
  const Tensor q = Tensor::Filled<float>({1, 1, 16}, 1.0f);
  const Tensor k = Tensor::Filled<float>({1, 1, 8}, 1.0f);
  // A length of 9 tokens, but a cache of none.
  EXPECT_THROW((void)Grouped().RunAll({q, k, k, {}, {}, Int32s({1}, {8}), Int32s({}, {9})}),
               InputError);
}

OpTest MultiHead() {
  OpTest op("MultiHeadAttention", 1, "com.microsoft");
  op.Int("num_heads", 2);
  return op;
}

TEST(MultiHeadAttention, ReadsPackedFormsAsTheSeparateOnes) {
  std::mt19937 random(8);
  const Tensor packed = RandomFloats({2, 5, 2, 3, 4}, random);
  const auto part = [&](int64_t i) {
    return OpTest("Gather", 13)
        .Int("axis", 3)
        .Run({packed, Tensor::Scalar<int64_t>(i)})
        .Reshaped({2, 5, 8});
  };
  const Tensor keys_values =
      OpTest("Slice", 13)
          .Run({packed, Int64s({int64_t{1}}), Int64s({int64_t{3}}), Int64s({int64_t{3}})});
  const Tensor apart = MultiHead().Run({part(0), part(1), part(2)});
  ExpectEqual(MultiHead().Run({packed}), apart);
  ExpectEqual(MultiHead().Run({part(0), keys_values}), apart);
}

TEST(MultiHeadAttention, RefusesOperandsThatDoNotBelongTogether) {
  std::mt19937 random(8);
  const auto run = [&](const Shape& key, const Shape& value) {
    return MultiHead().Run(
        {RandomFloats({2, 5, 8}, random), RandomFloats(key, random), RandomFloats(value, random)});
  };
  EXPECT_EQ(run({2, 3, 8}, {2, 3, 4}).shape(), (Shape{2, 5, 4}));
  EXPECT_THROW((void)run({1, 3, 8}, {2, 3, 8}), InputError);
  EXPECT_THROW((void)run({2, 3, 8}, {1, 3, 8}), InputError);
  EXPECT_THROW((void)run({2, 3, 8}, {2, 4, 8}), InputError);
  EXPECT_THROW((void)run({2, 3, 4}, {2, 3, 8}), InputError);
}

// What a model may say and no tensor holds: each ended outside of one, or in undefined arithmetic.
TEST(AttentionOperators, RefuseWhatReachesPastAnOperand) {
  const auto f = [](Shape shape) { return Tensor::Filled<float>(std::move(shape), 0.5f); };
  const auto contrib = [](const char* type) { return OpTest(type, 1, "com.microsoft"); };
  // Caches of different lengths.
  EXPECT_THROW((void)contrib("MultiHeadAttention")
                   .Int("num_heads", 2)
                   .Outputs(3)
                   .RunAll({f({1, 2, 8}),
                            f({1, 2, 8}),
                            f({1, 2, 8}),
                            {},
                            {},
                            {},
                            f({1, 2, 5, 4}),
                            f({1, 2, 3, 4})}),
               InputError);
  EXPECT_THROW((void)OpTest("Attention", 23)
                   .Outputs(3)
                   .RunAll({f({1, 2, 2, 4}),
                            f({1, 2, 2, 4}),
                            f({1, 2, 2, 4}),
                            {},
                            f({1, 2, 5, 4}),
                            f({1, 2, 3, 4})}),
               InputError);
  // More heads than anything has, or none.
  for (const int64_t heads : {int64_t{0}, int64_t{-2}, int64_t{1} << 62}) {
    EXPECT_THROW((void)contrib("MultiHeadAttention")
                     .Int("num_heads", heads)
                     .Run({f({1, 2, 8}), f({1, 2, 8}), f({1, 2, 8})}),
                 InputError);
  }
  // Lengths that are none.
  for (const int32_t length : {-9, std::numeric_limits<int32_t>::max()}) {
    EXPECT_THROW((void)Grouped().RunAll({f({1, 2, 32}),
                                         f({1, 2, 16}),
                                         f({1, 2, 16}),
                                         {},
                                         {},
                                         Int32s({1}, {length}),
                                         Int32s({}, {4})}),
                 InputError);
  }
  // A single position from which no more can be counted.
  EXPECT_THROW((void)contrib("RotaryEmbedding")
                   .Run({f({1, 2, 2, 4}), Int64s({1}, {std::numeric_limits<int64_t>::max()}),
                         f({8, 2}), f({8, 2})}),
               InputError);
  // Hidden sizes whose sum is right only after it overflows.
  EXPECT_THROW(
      (void)contrib("Attention")
          .Int("num_heads", 1)
          .Ints("qkv_hidden_sizes", {int64_t{3} << 61, int64_t{3} << 61, 6 + (int64_t{1} << 62)})
          .Run({f({1, 2, 4}), f({4, 6}), f({6})}),
      InputError);
}

TEST(RelativePositionBias, StaysInTheTableWhateverTheMostDistant) {
  for (const int64_t most : {int64_t{-5}, int64_t{0}, int64_t{1}, int64_t{2}, int64_t{1} << 62}) {
    const Tensor out = OpTest("RelativePositionBias", 1, "com.microsoft")
                           .Int("max_distance", most)
                           .Run({Floats({4, 1}, {1, 2, 3, 4}), Int64s({}, {3}), Int64s({}, {9})});
    for (const float value : out.data<float>()) {
      EXPECT_THAT(value, ::testing::AllOf(::testing::Ge(1.0f), ::testing::Le(4.0f))) << most;
    }
  }
}

TEST(MultiHeadAttention, PackedBiasIsAddedToEveryPart) {
  std::mt19937 random(9);
  const Tensor packed = RandomFloats({2, 5, 2, 3, 4}, random);
  const Tensor bias = RandomFloats({24}, random);
  const Tensor spread =
      OpTest("Transpose", 13).Ints("perm", {1, 0, 2}).Run({bias.Reshaped({3, 2, 4})});
  const Tensor sum = OpTest("Add", 13).Run({packed, spread});
  ExpectEqual(MultiHead().Run({packed, {}, {}, bias}), MultiHead().Run({sum}), 1e-6f);
}

TEST(PackedAttention, EqualsProjectionThenMultiHeadAttention) {
  std::mt19937 random(10);
  const Tensor x = RandomFloats({2, 5, 6}, random);
  const Tensor w = RandomFloats({6, 24}, random);
  const Tensor bias = RandomFloats({24}, random);
  const Tensor mask = Tensor::From<int32_t>({2, 5}, {1, 1, 1, 1, 1, 0, 0, 1, 1, 1});
  const Tensor projected = OpTest("MatMul", 13).Run({x, w}).Reshaped({2, 5, 3, 2, 4});
  const Tensor packed = OpTest("Transpose", 13).Ints("perm", {0, 1, 3, 2, 4}).Run({projected});
  ExpectEqual(OpTest("Attention", 1, "com.microsoft").Int("num_heads", 2).Run({x, w, bias, mask}),
              MultiHead().Run({packed, {}, {}, bias, mask}), 1e-5f);
}

TEST(PackedAttention, ReadsTheRowsOfASquareMaskThatFollowThePast) {
  std::mt19937 random(11);
  const Tensor x = RandomFloats({1, 2, 6}, random);
  const Tensor w = RandomFloats({6, 12}, random);
  const Tensor past = RandomFloats({2, 1, 2, 1, 2}, random);
  // Tokens 1 and 2 of four: token 1 sees keys 0 and 1, token 2 sees key 2 only.
  const Tensor square =
      Tensor::From<int32_t>({1, 1, 4, 4}, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1});
  const Tensor rows = Tensor::From<int32_t>({1, 2, 3}, {1, 1, 0, 0, 0, 1});
  const auto run = [&](const Tensor& mask) {
    return OpTest("Attention", 1, "com.microsoft")
        .Int("num_heads", 2)
        .Outputs(2)
        .RunAll({x, w, {}, mask, past});
  };
  ExpectEqual(run(square)[0], run(rows)[0]);
  EXPECT_EQ(run(rows)[1].shape(), (Shape{2, 1, 2, 3, 2}));
  EXPECT_THROW((void)run(Tensor::Filled<int32_t>({1, 7}, 1)), InputError);
}

}  // namespace
}  // namespace ptq
