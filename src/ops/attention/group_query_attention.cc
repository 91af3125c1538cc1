// com.microsoft GroupQueryAttention: grouped heads, a cache and rotary embeddings in one operator.
#include <cmath>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "attention_core.h"
#include "kv_cache.h"
#include "norm/norm_rows.h"
#include "quantized_cache.h"
#include "rotary.h"
#include "sliding_cache.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

enum GqaInput : size_t {
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

struct GroupQueryAttributes {
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
  int cache_bits;  ///< of a quantized cache; 0: floats
  bool sliding;    ///< the cache holds the latest tokens only
};

GroupQueryAttributes ReadGroupQueryAttributes(const Node& node) {
  const int64_t heads = HeadCount(node, "num_heads");
  const int64_t kv_heads = HeadCount(node, "kv_num_heads");
  if (heads % kv_heads != 0) {
    throw InputError("node '" + node.name() + "': " + std::to_string(heads) +
                     " query heads cannot share " + std::to_string(kv_heads) + " key heads");
  }
  int bits = 0;
  const std::string kinds[] = {node.String("k_quant_type", "NONE"),
                               node.String("v_quant_type", "NONE")};
  if (kinds[0] != "NONE" || kinds[1] != "NONE") {
    bits = static_cast<int>(node.Int("kv_cache_bit_width", 8));
    if (kinds[0] == "NONE" || kinds[1] == "NONE" || (bits != 8 && bits != 4)) {
      throw UnsupportedError("node '" + node.name() +
                             "': a cache of which only keys or only values are quantized, or not "
                             "to 4 or 8 bits, is not supported");
    }
  }
  const bool sliding = node.Int("sliding_window_cache", 0) != 0;
  if (sliding && (node.Int("local_window_size", -1) <= 0 || node.Int("qk_output", 0) != 0)) {
    throw UnsupportedError("node '" + node.name() +
                           "': sliding_window_cache needs local_window_size, and has no qk_output");
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
          node.Float("qk_norm_epsilon", 1e-6f),
          bits,
          sliding};
}

/// New queries, keys and values as they come in: [B, T, C], packed in one tensor or apart.
struct Fresh {
  int64_t batches, tokens, head_size;
  HeadView<const float> q, k, v;
};

Fresh ReadFresh(const KernelContext& context, const GroupQueryAttributes& attributes) {
  const Tensor& query = context.input(kQuery);
  if (query.rank() != 3) {
    throw InputError("query has shape " + ToString(query.shape()) + ", expected three dimensions");
  }
  const bool packed = !context.has_input(kKey);
  const int64_t heads = attributes.heads + (packed ? 2 * attributes.kv_heads : 0);
  const int64_t channels = query.dim(2);
  if (channels % heads != 0) {
    throw InputError("query has " + std::to_string(channels) + " channels, which " +
                     std::to_string(heads) + " heads do not divide");
  }
  Fresh fresh{query.dim(0), query.dim(1), channels / heads, {}, {}, {}};
  const auto view = [&](std::span<const float> data, int64_t width, int64_t first = 0) {
    const auto from = static_cast<size_t>(first * fresh.head_size);
    return TokensFirst(data.subspan(std::min(data.size(), from)), fresh.tokens, width,
                       fresh.head_size);
  };
  const std::span<const float> data = query.data<float>();
  fresh.q = view(data, channels);
  if (packed) {
    fresh.k = view(data, channels, attributes.heads);
    fresh.v = view(data, channels, attributes.heads + attributes.kv_heads);
    return fresh;
  }
  const Shape expected = {fresh.batches, fresh.tokens, attributes.kv_heads * fresh.head_size};
  for (const size_t input : {kKey, kValue}) {
    if (context.input(input).shape() != expected) {
      throw InputError("key and value must have shape " + ToString(expected) + ", one has " +
                       ToString(context.input(input).shape()));
    }
  }
  fresh.k = view(context.input(kKey).data<float>(), expected[2]);
  fresh.v = view(context.input(kValue).data<float>(), expected[2]);
  return fresh;
}

void CheckLength(int64_t last) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (last >= -1 && last <= kMost) return;
  throw InputError("seqlens_k holds " + std::to_string(last) + ", which is no length");
}

/// Tokens of each batch that the cache holds already.
Shape PastLengths(const KernelContext& context, const Fresh& fresh) {
  Shape lengths = context.input(kLengths).ToInt64s();
  if (static_cast<int64_t>(lengths.size()) != fresh.batches) {
    throw InputError("seqlens_k has " + std::to_string(lengths.size()) + " entries for " +
                     std::to_string(fresh.batches) + " sequences");
  }
  // The first prompt may be padded on the right: its lengths say nothing about a past.
  const bool first = ScalarInput(context, kTotalLength) == fresh.tokens;
  for (int64_t& length : lengths) {
    CheckLength(length);
    length = first ? 0 : length + 1 - fresh.tokens;
  }
  return lengths;
}

/// Queries or keys of the new tokens with what the operator does to them first, [B, T, H, D].
Tensor Prepare(const HeadView<const float>& view, const Fresh& fresh, int64_t heads,
               const RotaryTable* table, bool interleaved, const Tensor& norm, float epsilon) {
  const int64_t channels = heads * fresh.head_size;
  Tensor out(DType::kFloat32, {fresh.batches, fresh.tokens, heads, fresh.head_size});
  const HeadView<const float> packed =
      TokensFirst(out.data<float>(), fresh.tokens, channels, fresh.head_size);
  const HeadView<float> to = Writable(packed, out.mutable_data<float>());
  const RotaryTable none{{}, {}, 0, Shape(static_cast<size_t>(fresh.batches * fresh.tokens), 0)};
  if (!norm.defined()) {
    RotateHeads(*table, interleaved, fresh.batches, heads, fresh.tokens, fresh.head_size, view, to);
    return out;
  }
  RotateHeads(none, false, fresh.batches, heads, fresh.tokens, fresh.head_size, view, to);
  float* rows = to.data.data();
  NormalizeRows({false, epsilon}, rows, fresh.batches * fresh.tokens * heads, fresh.head_size,
                ReadNormParameter(norm, out.shape(), 3), {}, rows, nullptr, nullptr);
  if (table != nullptr) {
    RotateHeads(*table, interleaved, fresh.batches, heads, fresh.tokens, fresh.head_size, packed,
                to);
  }
  return out;
}

/// Positions of the new tokens, clamped into the tables where padding would leave them.
Shape Positions(const KernelContext& context, const Fresh& fresh, const Shape& past) {
  if (context.has_input(kPositions)) {
    Shape positions = context.input(kPositions).ToInt64s();
    if (static_cast<int64_t>(positions.size()) == fresh.batches * fresh.tokens) return positions;
    throw InputError("position_ids has shape " + ToString(context.input(kPositions).shape()) +
                     ", expected " + ToString(Shape{fresh.batches, fresh.tokens}));
  }
  const int64_t limit = context.input(kCosine).dim(0);
  Shape positions;
  for (const int64_t start : past) {
    for (int64_t t = 0; t < fresh.tokens; ++t) positions.push_back(std::min(start + t, limit - 1));
  }
  return positions;
}

class GroupQueryAttention : public Kernel {
 public:
  explicit GroupQueryAttention(const GroupQueryAttributes& attributes) : attributes_(attributes) {}

  void Run(KernelContext& context) const override {
    Fresh fresh = ReadFresh(context, attributes_);
    const Tensor past_key = ReadCache(context, kPastKey, kKeyScale);
    const Tensor past_value = ReadCache(context, kPastValue, kValueScale);
    const CacheLayout layout = LayOut(context, fresh, past_key);
    const auto prepared = PrepareNew(context, layout.seen, fresh);
    const auto extend = [&](const Tensor& past, const HeadView<const float>& view, size_t scale) {
      Tensor all = AppendTokens(past, layout.used, view, attributes_.kv_heads, fresh.tokens,
                                fresh.head_size, layout.staged);
      // The new tokens are seen as the cache will give them back.
      const int bits = attributes_.cache_bits;
      return bits == 0
                 ? all
                 : DequantizeCache(QuantizeCache(all, layout.ends, context.input(scale), bits),
                                   context.input(scale), bits);
    };
    Tensor key = extend(past_key, fresh.k, kKeyScale);
    Tensor value = extend(past_value, fresh.v, kValueScale);
    Attend(context, fresh, layout, key, value);
    const auto store = [&](size_t output, Tensor& staged, size_t scale) {
      Tensor kept = attributes_.sliding ? KeepLatest(staged, layout) : std::move(staged);
      if (attributes_.cache_bits != 0) {
        kept = QuantizeCache(kept, attributes_.sliding ? layout.kept : layout.ends,
                             context.input(scale), attributes_.cache_bits);
      }
      context.set_output(output, std::move(kept));
    };
    store(1, key, kKeyScale);
    store(2, value, kValueScale);
  }

 private:
  [[nodiscard]] Tensor ReadCache(const KernelContext& context, size_t input, size_t scale) const {
    if (!context.has_input(input)) return {};
    if (attributes_.cache_bits == 0) return context.input(input);
    return DequantizeCache(context.input(input), context.input(scale), attributes_.cache_bits);
  }

  [[nodiscard]] CacheLayout LayOut(const KernelContext& context, const Fresh& fresh,
                                   const Tensor& past_key) const {
    CacheLayout layout;
    layout.seen = layout.used = PastLengths(context, fresh);
    for (const int64_t length : context.input(kLengths).ToInt64s()) {
      layout.total.push_back(length + 1);
    }
    const int64_t rows = past_key.defined() && past_key.rank() == 4 ? past_key.dim(2) : 0;
    layout.staged = std::max(ScalarInput(context, kTotalLength), rows);
    if (attributes_.sliding) {
      if (rows < attributes_.window) {
        throw InputError("a sliding cache of " + std::to_string(rows) +
                         " rows is shorter than the window of " +
                         std::to_string(attributes_.window));
      }
      layout.capacity = rows;
      layout.staged = 0;
      for (int64_t& used : layout.used) used = ResidentTokens(used, rows, attributes_.window);
      for (const int64_t total : layout.total) {
        layout.kept.push_back(ResidentTokens(total, rows, attributes_.window));
      }
    }
    for (const int64_t used : layout.used) {
      if (used > rows) {
        throw InputError("seqlens_k names " + std::to_string(used) +
                         " past tokens, the cache has " + std::to_string(rows));
      }
      layout.ends.push_back(used + fresh.tokens);
      layout.staged = std::max(layout.staged, layout.ends.back());
    }
    return layout;
  }

  /// The bias over the staged keys, of which the first is not the first token when the cache
  /// slides.
  [[nodiscard]] ScoreBias StagedBias(const KernelContext& context, const Fresh& fresh,
                                     const CacheLayout& layout) const {
    ScoreBias bias = BroadcastBias(context.input(kBias), fresh.batches, attributes_.heads,
                                   fresh.tokens, ScalarInput(context, kTotalLength));
    for (size_t b = 0; b < layout.seen.size(); ++b) {
      const int64_t dropped = layout.seen[b] - layout.used[b];
      if (dropped != layout.seen[0] - layout.used[0]) {
        throw UnsupportedError(
            "attention_bias with a sliding cache whose sequences have dropped "
            "different numbers of tokens is not supported");
      }
      if (b == 0) {
        bias.keys = std::max<int64_t>(0, bias.keys - dropped);
        bias.data =
            bias.data.subspan(std::min(bias.data.size(), static_cast<size_t>(dropped * bias.key)));
      }
    }
    return bias;
  }

  /// Normalised and rotated queries and keys; `fresh` then points into them.
  std::vector<Tensor> PrepareNew(const KernelContext& context, const Shape& past,
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
      view = TokensFirst(out.data<float>(), fresh.tokens, heads * fresh.head_size, fresh.head_size);
      return out;
    };
    std::vector<Tensor> owned;
    owned.push_back(prepare(fresh.q, attributes_.heads, kQueryNorm));
    owned.push_back(prepare(fresh.k, attributes_.kv_heads, kKeyNorm));
    return owned;
  }

  void Attend(KernelContext& context, const Fresh& fresh, const CacheLayout& layout,
              const Tensor& key, const Tensor& value) const {
    const int64_t heads = attributes_.heads;
    const int64_t rows = key.dim(2);
    const int64_t keys = attributes_.sliding ? rows : ScalarInput(context, kTotalLength);
    AttentionProblem problem;
    problem.batches = fresh.batches;
    problem.heads = heads;
    problem.kv_heads = attributes_.kv_heads;
    problem.queries = fresh.tokens;
    problem.keys = keys;
    problem.head_size = problem.value_size = fresh.head_size;
    problem.q = fresh.q;
    problem.k = HeadsFirst(key.data<float>(), problem.kv_heads, rows, fresh.head_size);
    problem.v = HeadsFirst(value.data<float>(), problem.kv_heads, rows, fresh.head_size);
    problem.scale =
        attributes_.scale != 0.0f ? attributes_.scale : DefaultAttentionScale(fresh.head_size);
    problem.softcap = attributes_.softcap;
    problem.causal = attributes_.causal;
    problem.offset = layout.used;
    problem.end_key = layout.ends;
    if (attributes_.window > 0) problem.left_window = attributes_.window - 1;
    if (context.has_input(kBias)) {
      problem.biases.push_back(StagedBias(context, fresh, layout));
    }
    problem.smooth = attributes_.smooth;
    if (context.has_input(kSinks)) {
      if (context.input(kSinks).size() != heads) {
        throw InputError("head_sink has shape " + ToString(context.input(kSinks).shape()) +
                         ", expected one value per head");
      }
      problem.sinks = context.input(kSinks).data<float>();
    }
    const int64_t channels = heads * fresh.head_size;
    Tensor out(DType::kFloat32, {fresh.batches, fresh.tokens, channels});
    const std::span<float> result = out.mutable_data<float>();
    problem.out = Writable(TokensFirst(result, fresh.tokens, channels, fresh.head_size), result);
    Tensor scores;
    if (attributes_.scores != 0 && context.wants(3)) {
      scores = Tensor(DType::kFloat32, {fresh.batches, heads, fresh.tokens, keys});
      problem.stage = attributes_.scores == 1 ? ScoreStage::kUsed : ScoreStage::kProbabilities;
      problem.scores = scores.mutable_data<float>();
    }
    RunAttention(problem);
    context.set_output(0, std::move(out));
    if (scores.defined()) context.set_output(3, std::move(scores));
  }

  const GroupQueryAttributes attributes_;
};

}  // namespace

/// com.microsoft GroupQueryAttention; inputs as in the enumeration above.
std::unique_ptr<Kernel> MakeGroupQueryAttention(const Node& node) {
  return std::make_unique<GroupQueryAttention>(ReadGroupQueryAttributes(node));
}

}  // namespace ptq
