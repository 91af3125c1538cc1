// Rounds activations to int8 by blocks of channels, and back.
#include "ptq/tensor/block_rounding.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr float kTop = 127;
constexpr int64_t kRowsOfATask = 16;

PTQ_VECTOR_CLONES void RoundBlock(float* x, int64_t count) {
  float largest = 0;
  for (int64_t j = 0; j < count; ++j) {
    const float magnitude = std::abs(x[j]);
    largest = largest < magnitude ? magnitude : largest;
  }
  const float step = largest / kTop;
  const float reciprocal = largest > 0 ? kTop / largest : 0.0f;
  for (int64_t j = 0; j < count; ++j) x[j] = std::nearbyint(x[j] * reciprocal) * step;
}

}  // namespace

bool RoundsInBlocks(int bits, int64_t group) {
  if (group < 16) return false;
  return bits != 2 || (group >= 32 && group <= 128);
}

void RoundRow(std::span<float> row, int64_t block) {
  const auto k = int64_t(row.size());
  for (int64_t begin = 0; begin < k; begin += block) {
    RoundBlock(row.data() + begin, std::min(block, k - begin));
  }
}

void RoundBlocks(std::span<float> x, int64_t k, int64_t block) {
  ParallelForTiles(int64_t(x.size()) / k, kRowsOfATask, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      RoundRow(x.subspan(size_t(row * k), size_t(k)), block);
    }
  });
}

}  // namespace ptq
