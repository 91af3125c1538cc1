// com.microsoft MultiHeadAttention and DecoderMaskedMultiHeadAttention: queries, keys and values
// apart or packed, with a cache that may be longer than what it holds.
#include <vector>

#include "arguments.h"
#include "array.h"
#include "attention_core.h"
#include "kv_cache.h"
#include "padding_mask.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Inputs of either operator; what is left out is undefined.
struct Inputs {
  Tensor query, key, value, bias, padding, attention_bias, past_key, past_value;
  Tensor past_length;        ///< tokens in the caches, which then keep their length
  Tensor cache_indirection;  ///< [B / beams, beams, length]: whose key and value each token has
};

struct MultiHeadAttributes {
  int64_t heads;
  float scale;
  float filter;
  bool causal;
};

/// Heads of Q, K or V: `size` values each in `tokens` tokens. `owned` keeps the view alive when it
/// is no input's.
struct Operand {
  int64_t batches = 0;
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
  return {tensor.dim(0),
          tensor.dim(1),
          size,
          TokensFirst(tensor.data<float>(), tensor.dim(1), tensor.dim(2), size),
          {}};
}

/// Part `part` of [B, T, H, parts, D].
Operand ReadPacked(const Tensor& tensor, int64_t heads, int64_t part, int64_t parts,
                   const char* what) {
  if (tensor.rank() != 5 || tensor.dim(2) != heads || tensor.dim(3) != parts) Refuse(what, tensor);
  const int64_t size = tensor.dim(4);
  const int64_t token = heads * parts * size;
  return {tensor.dim(0),
          tensor.dim(1),
          size,
          {tensor.data<float>().subspan(std::min(tensor.data<float>().size(), size_t(part * size))),
           tensor.dim(1) * token, parts * size, token},
          {}};
}

/// [B, H, T, D].
Operand ReadHeads(const Tensor& tensor, int64_t heads, const char* what) {
  if (tensor.rank() != 4 || tensor.dim(1) != heads) Refuse(what, tensor);
  return {tensor.dim(0),
          tensor.dim(2),
          tensor.dim(3),
          HeadsFirst(tensor.data<float>(), heads, tensor.dim(2), tensor.dim(3)),
          {}};
}

Operands ReadOperands(const Inputs& inputs, int64_t heads) {
  const Tensor& query = inputs.query;
  const int64_t batches = query.rank() > 0 ? query.dim(0) : 0;
  if (!inputs.key.defined()) {
    return {batches, ReadPacked(query, heads, 0, 3, "query"),
            ReadPacked(query, heads, 1, 3, "query"), ReadPacked(query, heads, 2, 3, "query")};
  }
  const Tensor& key = inputs.key;
  Operand q = ReadFlat(query, heads, "query");
  if (key.rank() == 5) {
    return {batches, std::move(q), ReadPacked(key, heads, 0, 2, "key"),
            ReadPacked(key, heads, 1, 2, "key")};
  }
  const Tensor& value = inputs.value;
  if (!value.defined()) throw InputError("MultiHeadAttention: there are keys but no values");
  if (key.rank() == 4) {
    return {batches, std::move(q), ReadHeads(key, heads, "key"), ReadHeads(value, heads, "value")};
  }
  return {batches, std::move(q), ReadFlat(key, heads, "key"), ReadFlat(value, heads, "value")};
}

/// Adds bias[H·D] to every token, in memory of its own.
void AddBias(Operand& operand, int64_t batches, int64_t heads, const float* bias) {
  const int64_t channels = heads * operand.size;
  Tensor sum(DType::kFloat32, {batches, operand.tokens, channels});
  const std::span<float> out = sum.mutable_data<float>();
  const HeadView<const float> from = operand.view;
  from.Require(batches, heads, operand.tokens, operand.size);
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, channels));
  ParallelForTiles(batches * operand.tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t head = 0; head < heads; ++head) {
        ArrayMap<float>(out.data() + i * channels + head * operand.size, operand.size) =
            ConstArrayMap<float>(from.At(i / operand.tokens, head, i % operand.tokens),
                                 operand.size) +
            ConstArrayMap<float>(bias + head * operand.size, operand.size);
      }
    }
  });
  operand.view = TokensFirst(out, operand.tokens, channels, operand.size);
  operand.owned = std::move(sum);
}

void AddBiases(const Tensor& bias, int64_t heads, Operands& operands) {
  if (!bias.defined()) return;
  const int64_t width = heads * operands.q.size;
  if (bias.size() != 2 * width + heads * operands.v.size) Refuse("bias", bias);
  const float* values = bias.data<float>().data();
  AddBias(operands.q, operands.batches, heads, values);
  AddBias(operands.k, operands.batches, heads, values + width);
  AddBias(operands.v, operands.batches, heads, values + 2 * width);
}

/// Past and new keys or values as one tensor, of the length of `past` when `used` of its tokens
/// count, which is -1 for all. The operand then covers what counts.
Tensor MakePresent(const Tensor& past, int64_t used, int64_t batches, int64_t heads,
                   Operand& operand) {
  const int64_t length = past.defined() && past.rank() == 4 ? past.dim(2) : 0;
  if (used > length) throw InputError("MultiHeadAttention: a past longer than its cache");
  const bool shared = used >= 0;
  if (!shared) used = length;
  const int64_t total = used + operand.tokens;
  Tensor present = AppendTokens(past, Shape(static_cast<size_t>(batches), used), operand.view,
                                heads, operand.tokens, operand.size, shared ? length : total);
  operand.view = HeadsFirst(present.data<float>(), heads, shared ? length : total, operand.size);
  operand.tokens = total;
  return present;
}

/// Beam search leaves past tokens where they were: gathers for each sequence those of its own beam,
/// which `indirection` names for every token before `past`.
void FollowBeams(const Shape& indirection, int64_t beams, int64_t past, int64_t batches,
                 int64_t heads, Operand& operand) {
  if (beams <= 0 || batches % beams != 0) {
    throw InputError("MultiHeadAttention: cache_indirection does not fit the batch");
  }
  const int64_t length = static_cast<int64_t>(indirection.size()) / std::max<int64_t>(1, batches);
  if (length < past) throw InputError("MultiHeadAttention: cache_indirection is too short");
  Tensor gathered(DType::kFloat32, {batches, heads, operand.tokens, operand.size});
  const std::span<float> to = gathered.mutable_data<float>();
  operand.view.Require(batches, heads, operand.tokens, operand.size);
  for (int64_t i = 0; i < batches * heads * operand.tokens; ++i) {
    const int64_t token = i % operand.tokens;
    const int64_t head = i / operand.tokens % heads;
    const int64_t batch = i / operand.tokens / heads;
    int64_t beam = batch % beams;
    if (token < past) beam = indirection[static_cast<size_t>(batch * length + token)];
    if (beam < 0 || beam >= beams) {
      throw InputError("MultiHeadAttention: cache_indirection names beam " + std::to_string(beam));
    }
    std::copy_n(operand.view.At(batch / beams * beams + beam, head, token), operand.size,
                to.data() + i * operand.size);
  }
  operand.view = HeadsFirst(to, heads, operand.tokens, operand.size);
  operand.owned = std::move(gathered);
}

/// The operands with past keys and values in front, and what of it is handed on.
struct Cache {
  int64_t past = 0;
  Tensor key, value;
};

Cache ExtendByPast(const Inputs& inputs, int64_t heads, bool wanted, Operands& operands) {
  Cache cache;
  if (!inputs.past_key.defined() && !wanted) return cache;
  int64_t used = -1;
  if (inputs.past_length.defined()) {
    const Shape lengths = inputs.past_length.ToInt64s();
    if (lengths.size() != 1 || !inputs.past_key.defined()) {
      throw InputError("MultiHeadAttention: past_sequence_length must be one number, of a cache");
    }
    used = lengths[0];
  }
  const int64_t fresh = operands.k.tokens;
  cache.key = MakePresent(inputs.past_key, used, operands.batches, heads, operands.k);
  cache.value = MakePresent(inputs.past_value, used, operands.batches, heads, operands.v);
  cache.past = operands.k.tokens - fresh;
  if (inputs.cache_indirection.defined()) {
    const Tensor& table = inputs.cache_indirection;
    if (table.rank() != 3 || table.dim(0) * table.dim(1) != operands.batches) {
      Refuse("cache_indirection", table);
    }
    const Shape indirection = table.ToInt64s();
    for (Operand* operand : {&operands.k, &operands.v}) {
      FollowBeams(indirection, table.dim(1), cache.past, operands.batches, heads, *operand);
    }
  }
  return cache;
}

AttentionProblem Describe(const Operands& operands, const MultiHeadAttributes& attributes,
                          int64_t past) {
  AttentionProblem problem;
  problem.batches = operands.batches;
  problem.heads = problem.kv_heads = attributes.heads;
  problem.queries = operands.q.tokens;
  problem.keys = operands.k.tokens;
  problem.head_size = operands.q.size;
  problem.value_size = operands.v.size;
  problem.q = operands.q.view;
  problem.k = operands.k.view;
  problem.v = operands.v.view;
  problem.scale =
      attributes.scale != 0.0f ? attributes.scale : DefaultAttentionScale(operands.q.size);
  problem.causal = attributes.causal;
  problem.offset.assign(static_cast<size_t>(operands.batches), past);
  return problem;
}

/// All views are read as far as the queries say.
void CheckOperands(const Operands& operands) {
  const auto& [batches, q, k, v] = operands;
  const bool fit =
      k.batches == batches && v.batches == batches && k.size == q.size && v.tokens == k.tokens;
  if (fit) return;
  throw InputError("MultiHeadAttention: the shapes of query, key and value do not belong together");
}

void RunMultiHeadAttention(KernelContext& context, const MultiHeadAttributes& attributes,
                           const Inputs& inputs) {
  const int64_t heads = attributes.heads;
  Operands operands = ReadOperands(inputs, heads);
  CheckOperands(operands);
  AddBiases(inputs.bias, heads, operands);
  Cache cache = ExtendByPast(inputs, heads, context.wants(1) || context.wants(2), operands);
  const Operand& q = operands.q;
  AttentionProblem problem = Describe(operands, attributes, cache.past);
  Tensor padding;
  if (inputs.padding.defined()) {
    padding = PaddingMaskBias(
        inputs.padding, {operands.batches, q.tokens, cache.past, problem.keys}, attributes.filter);
  }
  for (const Tensor& bias : {padding, inputs.attention_bias}) {
    if (!bias.defined()) continue;
    problem.biases.push_back(BroadcastBias(bias, operands.batches, heads, q.tokens, problem.keys));
  }
  const int64_t channels = heads * operands.v.size;
  Tensor out(DType::kFloat32, {operands.batches, q.tokens, channels});
  const std::span<float> result = out.mutable_data<float>();
  problem.out = Writable(TokensFirst(result, q.tokens, channels, operands.v.size), result);
  Tensor scores;
  if (context.wants(3)) {
    scores = Tensor(DType::kFloat32, {operands.batches, heads, q.tokens, problem.keys});
    problem.stage = ScoreStage::kBiased;
    problem.scores = scores.mutable_data<float>();
  }
  RunAttention(problem);
  context.set_output(0, std::move(out));
  if (context.wants(1)) context.set_output(1, std::move(cache.key));
  if (context.wants(2)) context.set_output(2, std::move(cache.value));
  if (context.wants(3)) context.set_output(3, std::move(scores));
}

MultiHeadAttributes ReadMultiHeadAttributes(const Node& node) {
  return {HeadCount(node, "num_heads"), node.Float("scale", 0.0f),
          node.Float("mask_filter_value", -10000.0f), node.Int("unidirectional", 0) != 0};
}

}  // namespace

/// com.microsoft MultiHeadAttention: query, key?, value?, bias?, key padding mask?, attention
/// bias?, past key?, past value?, past length?, cache indirection? -> Y, present key?, present
/// value?, scores before the softmax?.
std::unique_ptr<Kernel> MakeMultiHeadAttention(const Node& node) {
  return MakeKernel([attributes = ReadMultiHeadAttributes(node)](KernelContext& context) {
    Inputs inputs{context.input(0),          OptionalInput(context, 1), OptionalInput(context, 2),
                  OptionalInput(context, 3), OptionalInput(context, 4), OptionalInput(context, 5),
                  OptionalInput(context, 6), OptionalInput(context, 7), OptionalInput(context, 8),
                  OptionalInput(context, 9)};
    RunMultiHeadAttention(context, attributes, inputs);
  });
}

/// com.microsoft DecoderMaskedMultiHeadAttention, for one token: query, key?, value?, mask?,
/// attention bias?, past key?, past value?, past length?, beam width?, cache indirection?, bias? ->
/// as MultiHeadAttention.
std::unique_ptr<Kernel> MakeDecoderMaskedMultiHeadAttention(const Node& node) {
  return MakeKernel([attributes = ReadMultiHeadAttributes(node)](KernelContext& context) {
    Inputs inputs{context.input(0),           OptionalInput(context, 1), OptionalInput(context, 2),
                  OptionalInput(context, 10), OptionalInput(context, 3), OptionalInput(context, 4),
                  OptionalInput(context, 5),  OptionalInput(context, 6), OptionalInput(context, 7),
                  OptionalInput(context, 9)};
    if (!inputs.key.defined()) {
      throw UnsupportedError(
          "DecoderMaskedMultiHeadAttention of packed queries, keys and values "
          "is not supported (nor is it by ONNX Runtime on CPU)");
    }
    // Keys and values of cross attention are given whole; there is no past to extend.
    if (inputs.key.rank() == 4) inputs.past_key = inputs.past_value = inputs.past_length = Tensor();
    RunMultiHeadAttention(context, attributes, inputs);
  });
}

}  // namespace ptq
