// Copies past and new tokens into one cache, and reads masks of any rank as biases on the scores.
#include "kv_cache.h"

#include <algorithm>
#include <limits>

#include "array.h"

namespace ptq {

HeadView<const float> HeadsFirst(std::span<const float> data, int64_t heads, int64_t tokens,
                                 int64_t head_size) {
  return {data, heads * tokens * head_size, tokens * head_size, head_size};
}

HeadView<const float> TokensFirst(std::span<const float> data, int64_t tokens, int64_t channels,
                                  int64_t head_size) {
  return {data, tokens * channels, head_size, channels};
}

HeadView<float> Writable(const HeadView<const float>& view, std::span<float> data) {
  return {data, view.batch, view.head, view.token};
}

Tensor AppendTokens(const Tensor& past, const Shape& past_used, const HeadView<const float>& fresh,
                    int64_t heads, int64_t tokens, int64_t head_size, int64_t capacity) {
  const auto batches = static_cast<int64_t>(past_used.size());
  const int64_t past_tokens = past.defined() && past.rank() == 4 ? past.dim(2) : 0;
  // An empty cache of sizes that the model leaves open says nothing.
  const bool holds = past.defined() && past.size() > 0;
  if (holds && past.shape() != Shape{batches, heads, past_tokens, head_size}) {
    throw InputError("past keys or values have shape " + ToString(past.shape()) + ", expected " +
                     ToString(Shape{batches, heads, past_tokens, head_size}));
  }
  Tensor present(DType::kFloat32, {batches, heads, capacity, head_size});
  AppendTokensTo(present.mutable_data<float>(),
                 holds ? past.data<float>() : std::span<const float>(), past_tokens, past_used,
                 fresh, heads, tokens, head_size, capacity);
  return present;
}

void AppendTokensTo(std::span<float> out, std::span<const float> past, int64_t past_tokens,
                    const Shape& past_used, const HeadView<const float>& fresh, int64_t heads,
                    int64_t tokens, int64_t head_size, int64_t capacity) {
  for (const int64_t used : past_used) {
    if (used < 0 || used > past_tokens || used > capacity - tokens) {
      throw InputError("a cache of " + std::to_string(past_tokens) + " tokens cannot supply " +
                       std::to_string(used) + " and take " + std::to_string(tokens) + " into " +
                       std::to_string(capacity));
    }
  }
  const auto batches = static_cast<int64_t>(past_used.size());
  fresh.Require(batches, heads, tokens, head_size);
  HeadsFirst(out, heads, capacity, head_size).Require(batches, heads, capacity, head_size);
  if (std::ranges::any_of(past_used, [](int64_t used) { return used > 0; })) {
    HeadsFirst(past, heads, past_tokens, head_size).Require(batches, heads, past_tokens, head_size);
  }
  const int64_t block = capacity * head_size;
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, block));
  ParallelForTiles(batches * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / heads;
      const int64_t head = i % heads;
      const int64_t used = past_used[static_cast<size_t>(batch)];
      float* to = out.data() + i * block;
      if (used > 0)
        to = std::copy_n(past.data() + i * past_tokens * head_size, used * head_size, to);
      for (int64_t t = 0; t < tokens; ++t) {
        to = std::copy_n(fresh.At(batch, head, t), head_size, to);
      }
      std::fill(to, out.data() + (i + 1) * block, 0.0f);
    }
  });
}

ScoreBias BroadcastBias(const Tensor& bias, int64_t batches, int64_t heads, int64_t queries,
                        int64_t keys) {
  const Shape target = {batches, heads, queries, keys};
  const Shape& shape = bias.shape();
  bool fits = shape.size() <= 4;
  for (size_t d = 0; fits && d < shape.size(); ++d) {
    const int64_t wanted = target[4 - shape.size() + d];
    const bool last = d + 1 == shape.size();
    fits = shape[d] == wanted || (last ? shape[d] < wanted : shape[d] == 1);
  }
  if (!fits) {
    throw InputError("attention mask or bias of shape " + ToString(shape) +
                     " does not broadcast to " + ToString(target));
  }
  Shape full(4 - shape.size(), 1);
  full.insert(full.end(), shape.begin(), shape.end());
  std::vector<int64_t> strides = RowMajorStrides(full);
  for (size_t d = 0; d < 3; ++d) {
    if (full[d] == 1) strides[d] = 0;
  }
  return {bias.data<float>(), strides[0], strides[1], strides[2], 1, full[3]};
}

}  // namespace ptq
