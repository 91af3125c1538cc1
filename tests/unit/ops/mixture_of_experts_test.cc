// What experts and gates give together, and the weights that SparseMixer gives to experts.
#include <cmath>
#include <random>
#include <vector>

#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

TEST(MixtureOfExperts, MixesTheBestExpertsOfEachToken) {
  // Expert e multiplies by e + 1, twice.
  const Tensor x = Floats({1, 1}, {3});
  const Tensor weights = Floats({3, 1, 1}, {1, 2, 3});
  const Tensor logits = Floats({1, 3}, {0, std::log(3.0f), std::log(2.0f)});
  OpTest op("MoE", 1, "com.microsoft");
  op.Int("k", 2).String("activation_type", "identity");
  // Probabilities 3/6 and 2/6 of experts 1 and 2, whose outputs are 12 and 27.
  ExpectEqual(op.Run({x, logits, weights, {}, weights}), Floats({1, 1}, {15}), 1e-5f);
  op.Int("normalize_routing_weights", 1);
  ExpectEqual(op.Run({x, logits, weights, {}, weights}), Floats({1, 1}, {18}), 1e-5f);
  // With a third projection the hidden values are products.
  ExpectEqual(op.Run({x, logits, weights, {}, weights, {}, weights}),
              Floats({1, 1}, {3 * 24 * 0.6f + 3 * 81 * 0.4f}), 1e-4f);
}

TEST(MixtureOfExperts, ReadsInterleavedAndConcatenatedGates) {
  std::mt19937 random(2);
  const Tensor x = RandomFloats({5, 4}, random), logits = RandomFloats({5, 2}, random);
  const Tensor gate = RandomFloats({2, 6, 4}, random), linear = RandomFloats({2, 6, 4}, random);
  const Tensor down = RandomFloats({2, 4, 6}, random);
  const auto op = [](int64_t fusion) {
    OpTest moe("MoE", 1, "com.microsoft");
    moe.Int("k", 1).String("activation_type", "swiglu").Int("swiglu_fusion", fusion);
    return moe.Float("swiglu_limit", 1.0f).Float("activation_alpha", 1.7f);
  };
  const Tensor apart = op(0).Run({x, logits, gate, {}, down, {}, linear});
  const Tensor halves = OpTest("Concat", 13).Int("axis", 1).Run({gate, linear});
  const Tensor pairs = OpTest("Concat", 13)
                           .Int("axis", 2)
                           .Run({gate.Reshaped({2, 6, 1, 4}), linear.Reshaped({2, 6, 1, 4})})
                           .Reshaped({2, 12, 4});
  ExpectEqual(op(2).Run({x, logits, halves, {}, down}), apart, 1e-6f);
  ExpectEqual(op(1).Run({x, logits, pairs, {}, down}), apart, 1e-6f);
}

/// The weight that each expert gets: its bias is its own unit vector, and that is all it does.
Tensor MixingWeights(const std::vector<float>& logits, int64_t experts) {
  const int64_t tokens = static_cast<int64_t>(logits.size()) / experts;
  Tensor bias = Tensor::Filled<float>({experts, experts}, 0.0f);
  for (int64_t e = 0; e < experts; ++e) {
    bias.mutable_data<float>()[static_cast<size_t>(e * experts + e)] = 1.0f;
  }
  const Tensor up = Tensor::Filled<float>({experts, 2, experts}, 0.0f);
  const Tensor down = Tensor::Filled<float>({experts, experts, 2}, 0.0f);
  return OpTest("MoE", 1, "com.microsoft")
      .Int("k", 2)
      .Int("use_sparse_mixer", 1)
      .Run({Tensor::Filled<float>({tokens, experts}, 1.0f),
            Tensor::From<float>({tokens, experts}, std::span<const float>(logits)), up, Tensor(),
            down, bias});
}

// The algorithm of SparseMixer as Phi-3.5-MoE runs it: a logit counts against the best one when it
// is less than 2 % of the larger magnitude below it. ONNX Runtime has it on CUDA alone; its CPU
// kernel ignores the attribute.
TEST(MixtureOfExperts, SparseMixerWeighsEachExpertAmongItsNearRivals) {
  const Tensor weights = MixingWeights({1.0f, 0.999f, 0.97f, 0.5f,  //
                                        2.0f, 1.0f, 0.995f, -3.0f,  //
                                        -1.0f, -1.01f, -2.0f, -3.0f},
                                       4);
  const auto share = [](float difference) { return 1.0f / (1.0f + std::exp(-difference)); };
  const Tensor expected = Floats({3, 4}, {share(0.001f), 1.0f, 0.0f, 0.0f,  //
                                          1.0f, share(0.005f), 0.0f, 0.0f,  //
                                          share(0.01f), 1.0f, 0.0f, 0.0f});
  ExpectEqual(weights, expected, 1e-5f);
}

}  // namespace
}  // namespace ptq::testing
