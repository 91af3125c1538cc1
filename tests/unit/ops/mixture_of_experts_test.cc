// The weights that SparseMixer gives to experts.
#include <cmath>
#include <vector>

#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

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
