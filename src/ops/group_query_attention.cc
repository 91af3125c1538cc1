// com.microsoft GroupQueryAttention: grouped heads, a cache and rotary embeddings in one operator.
#include <cmath>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "attention_core.h"
#include "kv_cache.h"
#include "norm_rows.h"
#include "rotary.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

enum Input : size_t {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLengths,
  kTotalLength,
  kCosine,
  kSine,
  kPositions,
  kBias,
  kSinks,
  kKeyScale,
  kValueScale,
  kQueryNorm,
  kKeyNorm
};

struct Attributes {
  int64_t heads;
  int64_t kv_heads;
  float scale;
  float softcap;
  bool rotary;
  bool interleaved;
  bool causal;
  bool smooth;
  int64_t window;
  int64_t scores;  ///< 0: none, 1: before the softmax, 2: after it
  float norm_epsilon;
};

Attributes ReadAttributes(const Node& node) {
  const int64_t heads = node.RequiredInt("num_heads");
  const int64_t kv_heads = node.RequiredInt("kv_num_heads");
  if (heads <= 0 || kv_heads <= 0 || heads % kv_heads != 0) {
    throw InputError("node '" + node.name() + "': " + std::to_string(heads) +
                     " query heads cannot share " + std::to_string(kv_heads) + " key heads");
  }
  for (const char* name : {"k_quant_type", "v_quant_type"}) {
    if (node.String(name, "NONE") != "NONE") {
      throw UnsupportedError("node '" + node.name() + "': a quantized cache (" + name +
                             ") is not supported; export the model with a float cache");
    }
  }
  if (node.Int("sliding_window_cache", 0) != 0) {
    throw UnsupportedError("node '" + node.name() +
                           "': sliding_window_cache is not supported; "
                           "export the model with a full-length cache");
  }
  return {heads,
          kv_heads,
          node.Float("scale", 0.0f),
          node.Float("softcap", 0.0f),
          node.Int("do_rotary", 0) != 0,
          node.Int("rotary_interleaved", 0) != 0,
          node.Int("causal", 1) != 0,
          node.Int("smooth_softmax", 0) != 0,
          node.Int("local_window_size", -1),
          node.Int("qk_output", 0),
          node.Float("qk_norm_epsilon", 1e-6f)};
}

/// New queries, keys and values as they come in: [B, T, C], packed in one tensor or apart.
struct Fresh {
  int64_t batches, tokens, head_size;
  HeadView<const float> q, k, v;
};

Fresh ReadFresh(const KernelContext& context, const Attributes& attributes) {
  const Tensor& query = context.input(kQuery);
  if (query.rank() != 3) {
    throw InputError("query has shape " + ToString(query.shape()) + ", expected three dimensions");
  }
  const bool packed = !context.has_input(kKey);
  const int64_t heads = attributes.heads + (packed ? 2 * attributes.kv_heads : 0);
  const int64_t channels = query.dim(2);
  if (heads <= 0 || channels % heads != 0) {
    throw InputError("query has " + std::to_string(channels) + " channels, which " +
                     std::to_string(heads) + " heads do not divide");
  }
  Fresh fresh{query.dim(0), query.dim(1), channels / heads, {}, {}, {}};
  const auto view = [&](const float* data, int64_t width) {
    return TokensFirst(data, fresh.tokens, width, fresh.head_size);
  };
  const float* data = query.data<float>().data();
  fresh.q = view(data, channels);
  if (packed) {
    fresh.k = view(data + attributes.heads * fresh.head_size, channels);
    fresh.v = view(data + (attributes.heads + attributes.kv_heads) * fresh.head_size, channels);
    return fresh;
  }
  const Shape expected = {fresh.batches, fresh.tokens, attributes.kv_heads * fresh.head_size};
  for (const size_t input : {kKey, kValue}) {
    if (context.input(input).shape() != expected) {
      throw InputError("key and value must have shape " + ToString(expected) + ", one has " +
                       ToString(context.input(input).shape()));
    }
  }
  fresh.k = view(context.input(kKey).data<float>().data(), expected[2]);
  fresh.v = view(context.input(kValue).data<float>().data(), expected[2]);
  return fresh;
}

/// Tokens of each batch that the cache holds already.
std::vector<int64_t> PastLengths(const KernelContext& context, const Fresh& fresh) {
  std::vector<int64_t> lengths = context.input(kLengths).ToInt64s();
  if (static_cast<int64_t>(lengths.size()) != fresh.batches) {
    throw InputError("seqlens_k has " + std::to_string(lengths.size()) + " entries for " +
                     std::to_string(fresh.batches) + " sequences");
  }
  // The first prompt may be padded on the right: its lengths say nothing about a past.
  const bool first = ScalarInput(context, kTotalLength) == fresh.tokens;
  for (int64_t& length : lengths) length = first ? 0 : length + 1 - fresh.tokens;
  return lengths;
}

/// Queries or keys of the new tokens with what the operator does to them first, [B, T, H, D].
Tensor Prepare(const HeadView<const float>& view, const Fresh& fresh, int64_t heads,
               const RotaryTable* table, bool interleaved, const Tensor& norm, float epsilon) {
  const int64_t channels = heads * fresh.head_size;
  Tensor out(DType::kFloat32, {fresh.batches, fresh.tokens, heads, fresh.head_size});
  float* to = out.mutable_data<float>().data();
  const HeadLayout packed{fresh.tokens * channels, fresh.head_size, channels};
  const RotaryTable none{
      nullptr, nullptr, 0,
      std::vector<int64_t>(static_cast<size_t>(fresh.batches * fresh.tokens), 0)};
  if (!norm.defined()) {
    RotateHeads(*table, interleaved, fresh.batches, heads, fresh.tokens, fresh.head_size, view.data,
                {view.batch, view.head, view.token}, to, packed);
    return out;
  }
  RotateHeads(none, false, fresh.batches, heads, fresh.tokens, fresh.head_size, view.data,
              {view.batch, view.head, view.token}, to, packed);
  NormalizeRows({false, epsilon}, to, fresh.batches * fresh.tokens * heads, fresh.head_size,
                ReadNormParameter(norm, out.shape(), 3), {}, to, nullptr, nullptr);
  if (table != nullptr) {
    RotateHeads(*table, interleaved, fresh.batches, heads, fresh.tokens, fresh.head_size, to,
                packed, to, packed);
  }
  return out;
}

/// Positions of the new tokens, clamped into the tables where padding would leave them.
std::vector<int64_t> Positions(const KernelContext& context, const Fresh& fresh,
                               const std::vector<int64_t>& past) {
  if (context.has_input(kPositions)) {
    std::vector<int64_t> positions = context.input(kPositions).ToInt64s();
    if (static_cast<int64_t>(positions.size()) == fresh.batches * fresh.tokens) return positions;
    throw InputError("position_ids has shape " + ToString(context.input(kPositions).shape()) +
                     ", expected " + ToString(Shape{fresh.batches, fresh.tokens}));
  }
  const int64_t limit = context.input(kCosine).dim(0);
  std::vector<int64_t> positions;
  for (const int64_t start : past) {
    for (int64_t t = 0; t < fresh.tokens; ++t) positions.push_back(std::min(start + t, limit - 1));
  }
  return positions;
}

class GroupQueryAttention : public Kernel {
 public:
  explicit GroupQueryAttention(const Attributes& attributes) : attributes_(attributes) {}

  void Run(KernelContext& context) const override {
    Fresh fresh = ReadFresh(context, attributes_);
    const std::vector<int64_t> past = PastLengths(context, fresh);
    const auto prepared = PrepareNew(context, past, fresh);
    const Tensor none;
    const Tensor& past_key = context.has_input(kPastKey) ? context.input(kPastKey) : none;
    const Tensor& past_value = context.has_input(kPastValue) ? context.input(kPastValue) : none;
    const int64_t capacity =
        std::max(ScalarInput(context, kTotalLength), past_key.defined() ? past_key.dim(2) : 0);
    Tensor key = AppendTokens(past_key, past, fresh.k, attributes_.kv_heads, fresh.tokens,
                              fresh.head_size, capacity);
    Tensor value = AppendTokens(past_value, past, fresh.v, attributes_.kv_heads, fresh.tokens,
                                fresh.head_size, capacity);
    Attend(context, fresh, past, key, value);
    context.set_output(1, std::move(key));
    context.set_output(2, std::move(value));
  }

 private:
  /// Normalised and rotated queries and keys; `fresh` then points into them.
  std::vector<Tensor> PrepareNew(const KernelContext& context, const std::vector<int64_t>& past,
                                 Fresh& fresh) const {
    const bool norm = context.has_input(kQueryNorm) || context.has_input(kKeyNorm);
    if (!attributes_.rotary && !norm) return {};
    RotaryTable table;
    if (attributes_.rotary) {
      table = MakeRotaryTable(context.input(kCosine), context.input(kSine),
                              Positions(context, fresh, past));
    }
    const auto prepare = [&](HeadView<const float>& view, int64_t heads, size_t norm_input) {
      Tensor out = Prepare(view, fresh, heads, attributes_.rotary ? &table : nullptr,
                           attributes_.interleaved, norm ? context.input(norm_input) : Tensor(),
                           attributes_.norm_epsilon);
      view = TokensFirst(out.data<float>().data(), fresh.tokens, heads * fresh.head_size,
                         fresh.head_size);
      return out;
    };
    std::vector<Tensor> owned;
    owned.push_back(prepare(fresh.q, attributes_.heads, kQueryNorm));
    owned.push_back(prepare(fresh.k, attributes_.kv_heads, kKeyNorm));
    return owned;
  }

  void Attend(KernelContext& context, const Fresh& fresh, const std::vector<int64_t>& past,
              const Tensor& key, const Tensor& value) const {
    const int64_t heads = attributes_.heads;
    const int64_t keys = key.dim(2);
    AttentionProblem problem;
    problem.batches = fresh.batches;
    problem.heads = heads;
    problem.kv_heads = attributes_.kv_heads;
    problem.queries = fresh.tokens;
    problem.keys = keys;
    problem.head_size = problem.value_size = fresh.head_size;
    problem.q = fresh.q;
    problem.k = HeadsFirst(key.data<float>().data(), problem.kv_heads, keys, fresh.head_size);
    problem.v = HeadsFirst(value.data<float>().data(), problem.kv_heads, keys, fresh.head_size);
    problem.scale =
        attributes_.scale != 0.0f ? attributes_.scale : DefaultAttentionScale(fresh.head_size);
    problem.softcap = attributes_.softcap;
    problem.causal = attributes_.causal;
    problem.offset = past;
    for (const int64_t used : past) problem.end_key.push_back(used + fresh.tokens);
    if (attributes_.window > 0) problem.left_window = attributes_.window - 1;
    if (context.has_input(kBias)) {
      problem.biases.push_back(
          BroadcastBias(context.input(kBias), fresh.batches, heads, fresh.tokens, keys));
    }
    problem.smooth = attributes_.smooth;
    if (context.has_input(kSinks)) {
      if (context.input(kSinks).size() != heads) {
        throw InputError("head_sink has shape " + ToString(context.input(kSinks).shape()) +
                         ", expected one value per head");
      }
      problem.sinks = context.input(kSinks).data<float>().data();
    }
    const int64_t channels = heads * fresh.head_size;
    Tensor out(DType::kFloat32, {fresh.batches, fresh.tokens, channels});
    float* result = out.mutable_data<float>().data();
    problem.out = Writable(TokensFirst(result, fresh.tokens, channels, fresh.head_size), result);
    Tensor scores;
    if (attributes_.scores != 0 && context.wants(3)) {
      scores = Tensor(DType::kFloat32, {fresh.batches, heads, fresh.tokens, keys});
      problem.stage = attributes_.scores == 1 ? ScoreStage::kUsed : ScoreStage::kProbabilities;
      problem.scores = scores.mutable_data<float>().data();
    }
    RunAttention(problem);
    context.set_output(0, std::move(out));
    if (scores.defined()) context.set_output(3, std::move(scores));
  }

  const Attributes attributes_;
};

}  // namespace

/// com.microsoft GroupQueryAttention; inputs as in the enumeration above.
std::unique_ptr<Kernel> MakeGroupQueryAttention(const Node& node) {
  return std::make_unique<GroupQueryAttention>(ReadAttributes(node));
}

}  // namespace ptq
