// ai.onnx Attention, opsets 23 to 25.
#include <algorithm>
#include <limits>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "attention_core.h"
#include "kv_cache.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct OnnxInput {
  enum : size_t { kQuery, kKey, kValue, kMask, kPastKey, kPastValue, kNonpadLengths };
};
enum Output : size_t { kResult, kPresentKey, kPresentValue, kScores };

struct OnnxAttributes {
  bool causal;
  int64_t kv_heads;
  int64_t heads;
  float scale;  ///< 0: the default
  float softcap;
  int64_t left_window;
  int64_t right_window;
  ScoreStage stage;
};

OnnxAttributes ReadOnnxAttributes(const Node& node) {
  constexpr ScoreStage kStages[] = {ScoreStage::kProducts, ScoreStage::kCapped, ScoreStage::kBiased,
                                    ScoreStage::kProbabilities};
  const int64_t mode = node.Int("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) {
    throw InputError("node '" + node.name() + "': qk_matmul_output_mode is " +
                     std::to_string(mode) + ", expected 0 to 3");
  }
  return {node.Int("is_causal", 0) != 0,     HeadCount(node, "kv_num_heads", 0),
          HeadCount(node, "q_num_heads", 0), node.Float("scale", 0.0f),
          node.Float("softcap", 0.0f),       node.Int("left_window_size", -1),
          node.Int("right_window_size", -1), kStages[mode]};
}

/// One of Q, K, V, [B, H, T, D] or [B, T, H·D].
struct OnnxOperand {
  int64_t batches, heads, tokens, head_size;
  HeadView<const float> view;
};

OnnxOperand ReadOperand(const Tensor& tensor, int64_t heads, const char* what) {
  const Shape& shape = tensor.shape();
  const std::span<const float> data = tensor.data<float>();
  if (shape.size() == 4) {
    return {shape[0], shape[1], shape[2], shape[3], HeadsFirst(data, shape[1], shape[2], shape[3])};
  }
  if (shape.size() != 3 || heads <= 0 || shape[2] % heads != 0) {
    throw InputError("attention: " + std::string(what) + " of shape " + ToString(shape) +
                     " does not hold " + std::to_string(heads) + " heads");
  }
  return {shape[0], heads, shape[1], shape[2] / heads,
          TokensFirst(data, shape[1], shape[2], shape[2] / heads)};
}

/// A boolean mask as a bias of 0 and -infinity; numbers are added as they are.
Tensor MaskAsBias(const Tensor& mask) {
  if (mask.dtype() != DType::kBool) return mask.Cast(DType::kFloat32);
  Tensor bias(DType::kFloat32, mask.shape());
  const auto from = mask.data<bool>();
  const auto to = bias.mutable_data<float>();
  for (size_t i = 0; i < from.size(); ++i) {
    to[i] = from[i] ? 0.0f : -std::numeric_limits<float>::infinity();
  }
  return bias;
}

void CheckShapes(const OnnxOperand& q, const OnnxOperand& k, const OnnxOperand& v) {
  if (k.batches != q.batches || v.batches != q.batches || k.heads != v.heads ||
      k.tokens != v.tokens || k.head_size != q.head_size) {
    throw InputError("attention: the shapes of query, key and value do not belong together");
  }
}

/// The cache outputs: past and new keys or values as [B, H, past + new, D].
Tensor Present(const KernelContext& context, size_t past_input, const OnnxOperand& fresh) {
  const Tensor past = context.has_input(past_input) ? context.input(past_input) : Tensor();
  const int64_t used = past.defined() ? past.dim(2) : 0;
  return AppendTokens(past, Shape(static_cast<size_t>(fresh.batches), used), fresh.view,
                      fresh.heads, fresh.tokens, fresh.head_size, used + fresh.tokens);
}

/// What is asked of the product core, but for the biases and where the results go. `past`: tokens
/// in the cache.
AttentionProblem ProblemOf(const KernelContext& context, const OnnxAttributes& attributes,
                           const OnnxOperand& q, const OnnxOperand& k, const OnnxOperand& v,
                           int64_t past) {
  AttentionProblem problem;
  problem.batches = q.batches;
  problem.heads = q.heads;
  problem.kv_heads = k.heads;
  problem.queries = q.tokens;
  problem.keys = k.tokens;
  problem.head_size = q.head_size;
  problem.value_size = v.head_size;
  problem.q = q.view;
  problem.k = k.view;
  problem.v = v.view;
  problem.scale = attributes.scale != 0.0f ? attributes.scale : DefaultAttentionScale(q.head_size);
  problem.softcap = attributes.softcap;
  problem.causal = attributes.causal;
  problem.left_window = attributes.left_window;
  problem.right_window = attributes.right_window;
  problem.offset.assign(static_cast<size_t>(q.batches), past);
  if (context.has_input(OnnxInput::kNonpadLengths)) {
    problem.end_key = context.input(OnnxInput::kNonpadLengths).ToInt64s();
    if (static_cast<int64_t>(problem.end_key.size()) != q.batches) {
      throw InputError("attention: nonpad_kv_seqlen does not hold one length per batch");
    }
    for (size_t b = 0; b < problem.offset.size(); ++b) {
      problem.offset[b] = std::clamp<int64_t>(problem.end_key[b], 0, k.tokens) - q.tokens;
    }
  }
  return problem;
}

void RunOnnxAttention(KernelContext& context, const OnnxAttributes& attributes) {
  const OnnxOperand q = ReadOperand(context.input(OnnxInput::kQuery), attributes.heads, "query");
  OnnxOperand k = ReadOperand(context.input(OnnxInput::kKey), attributes.kv_heads, "key");
  OnnxOperand v = ReadOperand(context.input(OnnxInput::kValue), attributes.kv_heads, "value");
  CheckShapes(q, k, v);
  const int64_t past =
      context.has_input(OnnxInput::kPastKey) ? context.input(OnnxInput::kPastKey).dim(2) : 0;
  Tensor present_key, present_value;
  if (context.has_input(OnnxInput::kPastKey) || context.wants(kPresentKey) ||
      context.wants(kPresentValue)) {
    present_key = Present(context, OnnxInput::kPastKey, k);
    present_value = Present(context, OnnxInput::kPastValue, v);
    k.tokens = v.tokens = present_key.dim(2);
    k.view = HeadsFirst(present_key.data<float>(), k.heads, k.tokens, k.head_size);
    v.view = HeadsFirst(present_value.data<float>(), v.heads, v.tokens, v.head_size);
  }

  AttentionProblem problem = ProblemOf(context, attributes, q, k, v, past);
  const Tensor bias =
      context.has_input(OnnxInput::kMask) ? MaskAsBias(context.input(OnnxInput::kMask)) : Tensor();
  if (bias.defined()) {
    problem.biases.push_back(BroadcastBias(bias, q.batches, q.heads, q.tokens, k.tokens));
  }
  const bool flat = context.input(OnnxInput::kQuery).rank() == 3;
  Tensor out(DType::kFloat32, flat ? Shape{q.batches, q.tokens, q.heads * v.head_size}
                                   : Shape{q.batches, q.heads, q.tokens, v.head_size});
  const std::span<float> result = out.mutable_data<float>();
  problem.out = Writable(flat ? TokensFirst(result, q.tokens, q.heads * v.head_size, v.head_size)
                              : HeadsFirst(result, q.heads, q.tokens, v.head_size),
                         result);
  Tensor scores;
  if (context.wants(kScores)) {
    scores = Tensor(DType::kFloat32, {q.batches, q.heads, q.tokens, k.tokens});
    problem.stage = attributes.stage;
    problem.scores = scores.mutable_data<float>();
  }
  RunAttention(problem);
  context.set_output(kResult, std::move(out));
  if (context.wants(kPresentKey)) context.set_output(kPresentKey, std::move(present_key));
  if (context.wants(kPresentValue)) context.set_output(kPresentValue, std::move(present_value));
  if (context.wants(kScores)) context.set_output(kScores, std::move(scores));
}

}  // namespace

/// ai.onnx Attention: Q, K, V, mask?, past key?, past value?, non-padding lengths (24)? ->
/// Y, present key?, present value?, scores?.
std::unique_ptr<Kernel> MakeAttention(const Node& node) {
  const OnnxAttributes attributes = ReadOnnxAttributes(node);
  return MakeKernel(
      [attributes](KernelContext& context) { RunOnnxAttention(context, attributes); });
}

}  // namespace ptq
