#include "ptq/quant/spec.h"

#include <algorithm>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr int64_t kRowTile = 64;

}  // namespace

void QuantizedMatrix::Dequantize(float* out) const {
  const int64_t group = spec.GroupSizeFor(k);
  const int64_t groups = spec.GroupsFor(k);
  ParallelForTiles(n, kRowTile, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = r * k + g * group;
        const int64_t end = r * k + std::min(k, (g + 1) * group);
        const float scale = scales[size_t(r * groups + g)];
        const int zero = zero_points[size_t(r * groups + g)];
        for (int64_t i = begin; i < end; ++i) {
          out[i] = float(int(codes[size_t(i)]) - zero) * scale;
        }
      }
    }
  });
}

}  // namespace ptq
