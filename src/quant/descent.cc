// Sweeps over the codes in blocks of columns, between which gradients are computed anew.
#include "descent.h"

#include <algorithm>
#include <cmath>

#include "group_grid.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Columns between two products with H.
constexpr int64_t kBlock = 128;
/// A code moves when the optimum is this many codes away: more than half, so that rounding errors
/// cannot make it swing.
constexpr float kLeastMove = 0.502f;

/// The codes of one row and one block of columns.
struct Columns {
  int64_t count;
  const float* h;  ///< [count, count]
  uint8_t* codes;
  float* delta;     ///< Δ
  float* gradient;  ///< Δ H
};

/// One column after the other within a group of channels; whether any code has changed.
PTQ_VECTOR_CLONES bool MoveCodes(const Columns& columns, int64_t begin, int64_t end, float scale,
                                 float highest) {
  bool moved = false;
  for (int64_t j = begin; j < end; ++j) {
    const float* h = columns.h + j * columns.count;
    const float wanted = -columns.gradient[j] / (h[j] * scale);  // in codes
    if (!(std::abs(wanted) > kLeastMove) || !std::isfinite(wanted)) continue;
    const auto code = float(columns.codes[j]);
    const float next = std::clamp(std::nearbyint(code + wanted), 0.0f, highest);
    if (next == code) continue;
    const float change = (next - code) * scale;
    columns.codes[j] = uint8_t(next);
    columns.delta[j] += change;
    for (int64_t i = 0; i < columns.count; ++i) columns.gradient[i] += change * h[i];
    moved = true;
  }
  return moved;
}

}  // namespace

Descent::Descent(const GramView& gram) : gram_(gram) {
  blocks_.resize(size_t((gram.k() + kBlock - 1) / kBlock));
  ParallelFor(int64_t(blocks_.size()), [&](int64_t i) {
    const int64_t count = std::min(kBlock, gram.k() - i * kBlock);
    blocks_[size_t(i)].resize(size_t(count * count));
    gram.Block(i * kBlock, count, blocks_[size_t(i)].data());
  });
}

bool Descent::Sweep(const RowBlock& block, std::vector<float>& delta,
                    std::vector<float>& gradient) const {
  const int64_t group = block.spec.GroupSizeFor(block.k);
  const int64_t groups = block.spec.GroupsFor(block.k);
  const auto highest = float(block.spec.levels() - 1);
  bool moved = false;
  for (int64_t begin = 0; begin < block.k; begin += kBlock) {
    CheckInterrupt();
    const int64_t count = std::min(kBlock, block.k - begin);
    gram_.Gradient(delta.data(), block.rows, begin, count, gradient.data());
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t at = r * block.k + begin;
      const Columns columns{count, blocks_[size_t(begin / kBlock)].data(), block.codes + at,
                            delta.data() + at, gradient.data() + r * count};
      for (int64_t j = 0; j < count;) {
        const int64_t g = (begin + j) / group;
        const int64_t end = std::min(count, (g + 1) * group - begin);
        const float scale = block.scales[r * groups + g];
        moved = MoveCodes(columns, j, end, scale, highest) || moved;
        j = end;
      }
    }
  }
  return moved;
}

void Descent::Run(const RowBlock& block, int sweeps) const {
  if (gram_.identity()) return;  // rounding to nearest is the optimum
  std::vector<float> delta;
  std::vector<float> gradient(size_t(block.rows * std::min(kBlock, block.k)));
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    Errors(block, delta);  // anew, so that rounding errors do not add up
    if (!Sweep(block, delta, gradient)) return;
  }
}

}  // namespace ptq
