// Drops the oldest tokens of a cache, step by step.
#include "sliding_cache.h"

#include <algorithm>

#include "ptq/base/error.h"

namespace ptq {

int64_t ResidentTokens(int64_t total, int64_t capacity, int64_t window) {
  if (total <= capacity) return total;
  const int64_t step = capacity - window + 1;
  return total - step * ((total - capacity + step - 1) / step);
}

Tensor KeepLatest(const Tensor& staged, const CacheLayout& layout) {
  const Shape& shape = staged.shape();
  const int64_t width = shape[3];
  Tensor kept = Tensor::Filled<float>({shape[0], shape[1], layout.capacity, width}, 0.0f);
  const float* from = staged.data<float>().data();
  float* to = kept.mutable_data<float>().data();
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i) {
    const auto batch = static_cast<size_t>(i / shape[1]);
    const int64_t dropped = layout.seen[batch] - layout.used[batch];
    const int64_t first = layout.total[batch] - layout.kept[batch] - dropped;
    if (first < 0 || layout.kept[batch] < 0 || layout.kept[batch] > layout.capacity ||
        first + layout.kept[batch] > shape[2]) {
      throw InputError("seqlens_k does not fit the tokens and the sliding cache");
    }
    std::copy_n(from + (i * shape[2] + first) * width, layout.kept[batch] * width,
                to + i * layout.capacity * width);
  }
  return kept;
}

}  // namespace ptq
