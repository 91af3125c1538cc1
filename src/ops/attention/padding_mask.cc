// Tells the forms of a mask apart by its shape, and writes each as zeros and filter values.
#include "padding_mask.h"

#include <string>
#include <vector>

namespace ptq {
namespace {

/// Bias of one row per batch: keys in [start, end) are free.
Tensor FromEnds(const Shape& ends, const Shape& starts, const MaskGeometry& g, float filter) {
  Tensor bias(DType::kFloat32, {g.batches, 1, 1, g.keys});
  float* out = bias.mutable_data<float>().data();
  for (int64_t b = 0; b < g.batches; ++b) {
    const auto at = static_cast<size_t>(b);
    for (int64_t key = 0; key < g.keys; ++key) {
      const bool free = key < ends[at] && (starts.empty() || key >= starts[at]);
      *out++ = free ? 0.0f : filter;
    }
  }
  return bias;
}

/// Bias [B, 1, rows, S] read from flags: those of row r of batch b start at
/// b · batch_stride + r · row_stride and cover the last `width` keys; the keys before are free.
Tensor FromFlags(const std::vector<int64_t>& flags, int64_t batch_stride, int64_t row_stride,
                 int64_t rows, int64_t first, int64_t width, const MaskGeometry& g, float filter) {
  Tensor bias(DType::kFloat32, {g.batches, 1, rows, g.keys});
  float* out = bias.mutable_data<float>().data();
  for (int64_t b = 0; b < g.batches; ++b) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = first + b * batch_stride + row * row_stride;
      for (int64_t key = 0; key < g.keys; ++key) {
        const int64_t flag = key - (g.keys - width);
        const bool free = flag < 0 || flags[static_cast<size_t>(from + flag)] > 0;
        *out++ = free ? 0.0f : filter;
      }
    }
  }
  return bias;
}

}  // namespace

Tensor PaddingMaskBias(const Tensor& mask, const MaskGeometry& g, float filter) {
  const Shape& shape = mask.shape();
  const Shape values =
      mask.dtype() == DType::kBool ? mask.Cast(DType::kInt64).ToInt64s() : mask.ToInt64s();
  const auto count = static_cast<int64_t>(values.size());
  const auto slice = [&](int64_t begin) {
    return Shape(values.begin() + begin, values.begin() + begin + g.batches);
  };
  if (shape.size() == 1) {
    if (count == g.batches || count == 3 * g.batches + 2) {
      return FromEnds(slice(0), {}, g, filter);
    }
    if (count == 2 * g.batches) return FromEnds(slice(0), slice(g.batches), g, filter);
  }
  if (shape.size() == 2 && (shape[0] == g.batches || shape[0] == 1)) {
    const int64_t width = shape[1];
    if (shape[0] == g.batches && (width == g.keys || width == g.keys - g.past)) {
      return FromFlags(values, width, 0, 1, 0, width, g, filter);
    }
    if (width == 1) return {};
  }
  if (shape == Shape{g.batches, g.queries, g.keys}) {
    return FromFlags(values, g.queries * g.keys, g.keys, g.queries, 0, g.keys, g, filter);
  }
  if (shape.size() == 4 && shape[0] == g.batches && shape[1] == 1 && shape[2] == shape[3] &&
      shape[2] >= g.keys && shape[2] >= g.past + g.queries) {
    const int64_t most = shape[2];
    return FromFlags(values, most * most, most, g.queries, g.past * most, g.keys, g, filter);
  }
  throw InputError("attention mask of shape " + ToString(shape) + " fits no known form for " +
                   std::to_string(g.batches) + " sequences, " + std::to_string(g.queries) +
                   " queries and " + std::to_string(g.keys) + " keys");
}

}  // namespace ptq
