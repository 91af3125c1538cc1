// com.microsoft MultiHeadAttention: queries, keys and values apart or packed, with a cache.
#include <vector>

#include "array.h"
#include "attention_core.h"
#include "kv_cache.h"
#include "padding_mask.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

enum Input : size_t {
  kQuery,
  kKey,
  kValue,
  kBias,
  kPaddingMask,
  kAttentionBias,
  kPastKey,
  kPastValue,
  kPastLength,
  kCacheIndirection
};

struct Attributes {
  int64_t heads;
  float scale;
  float filter;
  bool causal;
};

/// Heads of Q, K or V: `size` values each in `tokens` tokens. `owned` keeps the view alive when it
/// is no input's.
struct Operand {
  int64_t tokens = 0;
  int64_t size = 0;
  HeadView<const float> view;
  Tensor owned;
};

struct Operands {
  int64_t batches;
  Operand q, k, v;
};

[[noreturn]] void Refuse(const std::string& what, const Tensor& tensor) {
  throw InputError("MultiHeadAttention: " + what + " has shape " + ToString(tensor.shape()) +
                   ", which fits no form of the operator");
}

/// [B, T, H·D].
Operand ReadFlat(const Tensor& tensor, int64_t heads, const char* what) {
  if (tensor.rank() != 3 || tensor.dim(2) % heads != 0) Refuse(what, tensor);
  const int64_t size = tensor.dim(2) / heads;
  return {tensor.dim(1),
          size,
          TokensFirst(tensor.data<float>().data(), tensor.dim(1), tensor.dim(2), size),
          {}};
}

/// Part `part` of [B, T, H, parts, D].
Operand ReadPacked(const Tensor& tensor, int64_t heads, int64_t part, int64_t parts,
                   const char* what) {
  if (tensor.rank() != 5 || tensor.dim(2) != heads || tensor.dim(3) != parts) Refuse(what, tensor);
  const int64_t size = tensor.dim(4);
  const int64_t token = heads * parts * size;
  return {tensor.dim(1),
          size,
          {tensor.data<float>().data() + part * size, tensor.dim(1) * token, parts * size, token},
          {}};
}

/// [B, H, T, D].
Operand ReadHeads(const Tensor& tensor, int64_t heads, const char* what) {
  if (tensor.rank() != 4 || tensor.dim(1) != heads) Refuse(what, tensor);
  return {tensor.dim(2),
          tensor.dim(3),
          HeadsFirst(tensor.data<float>().data(), heads, tensor.dim(2), tensor.dim(3)),
          {}};
}

Operands ReadOperands(const KernelContext& context, int64_t heads) {
  const Tensor& query = context.input(kQuery);
  const int64_t batches = query.rank() > 0 ? query.dim(0) : 0;
  if (!context.has_input(kKey)) {
    return {batches, ReadPacked(query, heads, 0, 3, "query"),
            ReadPacked(query, heads, 1, 3, "query"), ReadPacked(query, heads, 2, 3, "query")};
  }
  const Tensor& key = context.input(kKey);
  Operand q = ReadFlat(query, heads, "query");
  if (key.rank() == 5) {
    return {batches, std::move(q), ReadPacked(key, heads, 0, 2, "key"),
            ReadPacked(key, heads, 1, 2, "key")};
  }
  const Tensor& value = context.input(kValue);
  if (key.rank() == 4) {
    return {batches, std::move(q), ReadHeads(key, heads, "key"), ReadHeads(value, heads, "value")};
  }
  return {batches, std::move(q), ReadFlat(key, heads, "key"), ReadFlat(value, heads, "value")};
}

/// Adds bias[H·D] to every token, in memory of its own.
void AddBias(Operand& operand, int64_t batches, int64_t heads, const float* bias) {
  const int64_t channels = heads * operand.size;
  Tensor sum(DType::kFloat32, {batches, operand.tokens, channels});
  float* out = sum.mutable_data<float>().data();
  const HeadView<const float> from = operand.view;
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, channels));
  ParallelForTiles(batches * operand.tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* token =
          from.data + i / operand.tokens * from.batch + i % operand.tokens * from.token;
      for (int64_t head = 0; head < heads; ++head) {
        ArrayMap<float>(out + i * channels + head * operand.size, operand.size) =
            ConstArrayMap<float>(token + head * from.head, operand.size) +
            ConstArrayMap<float>(bias + head * operand.size, operand.size);
      }
    }
  });
  operand.view = TokensFirst(out, operand.tokens, channels, operand.size);
  operand.owned = std::move(sum);
}

void AddBiases(const KernelContext& context, int64_t heads, Operands& operands) {
  if (!context.has_input(kBias)) return;
  const Tensor& bias = context.input(kBias);
  const int64_t width = heads * operands.q.size;
  if (bias.size() != 2 * width + heads * operands.v.size) Refuse("bias", bias);
  const float* values = bias.data<float>().data();
  AddBias(operands.q, operands.batches, heads, values);
  AddBias(operands.k, operands.batches, heads, values + width);
  AddBias(operands.v, operands.batches, heads, values + 2 * width);
}

/// Past and new keys or values as one tensor; the operand then covers all of them.
Tensor MakePresent(const KernelContext& context, size_t past_input, int64_t batches, int64_t heads,
                   Operand& operand) {
  const Tensor past = context.has_input(past_input) ? context.input(past_input) : Tensor();
  const int64_t used = past.defined() ? past.dim(2) : 0;
  Tensor present =
      AppendTokens(past, std::vector<int64_t>(static_cast<size_t>(batches), used), operand.view,
                   heads, operand.tokens, operand.size, used + operand.tokens);
  operand.tokens = present.dim(2);
  operand.view = HeadsFirst(present.data<float>().data(), heads, operand.tokens, operand.size);
  return present;
}

void Run(KernelContext& context, const Attributes& attributes) {
  if (context.has_input(kPastLength) || context.has_input(kCacheIndirection)) {
    throw UnsupportedError(
        "MultiHeadAttention over a shared cache buffer (past_sequence_length, "
        "cache_indirection) is not supported");
  }
  const int64_t heads = attributes.heads;
  Operands operands = ReadOperands(context, heads);
  AddBiases(context, heads, operands);
  const int64_t past = context.has_input(kPastKey) ? context.input(kPastKey).dim(2) : 0;
  Tensor present_key, present_value;
  if (context.has_input(kPastKey) || context.wants(1) || context.wants(2)) {
    present_key = MakePresent(context, kPastKey, operands.batches, heads, operands.k);
    present_value = MakePresent(context, kPastValue, operands.batches, heads, operands.v);
  }
  const Operand& q = operands.q;
  AttentionProblem problem;
  problem.batches = operands.batches;
  problem.heads = problem.kv_heads = heads;
  problem.queries = q.tokens;
  problem.keys = operands.k.tokens;
  problem.head_size = q.size;
  problem.value_size = operands.v.size;
  problem.q = q.view;
  problem.k = operands.k.view;
  problem.v = operands.v.view;
  problem.scale = attributes.scale != 0.0f ? attributes.scale : DefaultAttentionScale(q.size);
  problem.causal = attributes.causal;
  problem.offset.assign(static_cast<size_t>(operands.batches), past);
  Tensor padding;
  if (context.has_input(kPaddingMask)) {
    padding = PaddingMaskBias(context.input(kPaddingMask),
                              {operands.batches, q.tokens, past, problem.keys}, attributes.filter);
  }
  const auto add = [&](const Tensor& bias) {
    problem.biases.push_back(BroadcastBias(bias, operands.batches, heads, q.tokens, problem.keys));
  };
  if (padding.defined()) add(padding);
  if (context.has_input(kAttentionBias)) add(context.input(kAttentionBias));
  const int64_t channels = heads * operands.v.size;
  Tensor out(DType::kFloat32, {operands.batches, q.tokens, channels});
  float* result = out.mutable_data<float>().data();
  problem.out = Writable(TokensFirst(result, q.tokens, channels, operands.v.size), result);
  Tensor scores;
  if (context.wants(3)) {
    scores = Tensor(DType::kFloat32, {operands.batches, heads, q.tokens, problem.keys});
    problem.stage = ScoreStage::kBiased;
    problem.scores = scores.mutable_data<float>().data();
  }
  RunAttention(problem);
  context.set_output(0, std::move(out));
  if (context.wants(1)) context.set_output(1, std::move(present_key));
  if (context.wants(2)) context.set_output(2, std::move(present_value));
  if (context.wants(3)) context.set_output(3, std::move(scores));
}

}  // namespace

/// com.microsoft MultiHeadAttention; inputs as in the enumeration above, outputs (Y, present key?,
/// present value?, scores before the softmax?).
std::unique_ptr<Kernel> MakeMultiHeadAttention(const Node& node) {
  const Attributes attributes{node.RequiredInt("num_heads"), node.Float("scale", 0.0f),
                              node.Float("mask_filter_value", -10000.0f),
                              node.Int("unidirectional", 0) != 0};
  if (attributes.heads <= 0)
    throw InputError("node '" + node.name() + "': num_heads is not positive");
  return MakeKernel([attributes](KernelContext& context) { Run(context, attributes); });
}

}  // namespace ptq
