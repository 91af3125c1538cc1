#include "ptq/quant/spec.h"

#include <algorithm>

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr int64_t kRowTile = 64;

/// One group of a row.
PTQ_VECTOR_CLONES void DequantizeGroup(const uint8_t* codes, int64_t count, float scale, int zero,
                                       float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = float(int(codes[i]) - zero) * scale;
}

}  // namespace

void QuantizedMatrix::Dequantize(float* out) const {
  ParallelForTiles(n, kRowTile, [&](int64_t first, int64_t last) {
    DequantizeRows(first, last, out + first * k);
  });
}

void QuantizedMatrix::DequantizeRows(int64_t begin, int64_t end, float* out) const {
  const int64_t group = spec.GroupSizeFor(k);
  const int64_t groups = spec.GroupsFor(k);
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * group;
      DequantizeGroup(codes.data() + r * k + first, std::min(group, k - first),
                      scales[size_t(r * groups + g)], zero_points[size_t(r * groups + g)],
                      out + (r - begin) * k + first);
    }
  }
}

}  // namespace ptq
