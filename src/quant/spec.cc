// Turns codes back into weights, group by group.
#include "ptq/quant/spec.h"

#include <algorithm>

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr int64_t kDequantizeRowTile = 64;

/// One group of a row.
PTQ_VECTOR_CLONES void DequantizeGroup(const uint8_t* codes, int64_t count, float scale, int zero,
                                       float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = float(int(codes[i]) - zero) * scale;
}

/// The same of a codebook's levels.
void LookUpGroup(const uint8_t* codes, int64_t count, float scale, const Levels& levels,
                 float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = levels.value(codes[i]) * scale;
}

}  // namespace

void DequantizeRows(const QuantSpec& spec, int64_t rows, int64_t k, const uint8_t* codes,
                    const float* scales, const uint8_t* zero_points, float* out) {
  const int64_t group = spec.GroupSizeFor(k);
  const int64_t groups = spec.GroupsFor(k);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = r * k + g * group;
      const int64_t count = std::min(group, k - g * group);
      const float scale = scales[r * groups + g];
      if (spec.uniform()) {
        DequantizeGroup(codes + first, count, scale, zero_points[r * groups + g], out + first);
      } else {
        LookUpGroup(codes + first, count, scale, *spec.codebook, out + first);
      }
    }
  }
}

QuantizedMatrix::QuantizedMatrix(const QuantSpec& the_spec, int64_t rows, int64_t cols)
    : spec(the_spec),
      n(rows),
      k(cols),
      codes(size_t(rows * cols)),
      scales(size_t(rows * the_spec.GroupsFor(cols))),
      zero_points(scales.size()) {}

void QuantizedMatrix::Dequantize(float* out) const {
  ParallelForTiles(n, kDequantizeRowTile, [&](int64_t first, int64_t last) {
    DequantizeRows(first, last, out + first * k);
  });
}

void QuantizedMatrix::DequantizeRows(int64_t begin, int64_t end, float* out) const {
  const int64_t groups = spec.GroupsFor(k);
  ptq::DequantizeRows(spec, end - begin, k, codes.data() + begin * k,
                      scales.data() + begin * groups, zero_points.data() + begin * groups, out);
}

}  // namespace ptq
