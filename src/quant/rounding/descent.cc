// Sweeps over the codes in blocks of columns, between which gradients are computed anew.
#include "descent.h"

#include <algorithm>
#include <cmath>

#include "grid/group_grid.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Columns between two products with H.
constexpr int64_t kDescentBlock = 128;
/// A code moves when the optimum is this part of the way to the other away: more than half, so that
/// rounding errors cannot make it swing.
constexpr float kLeastMove = 0.502f;

/// The codes of one row and one block of columns.
struct Columns {
  int64_t count;
  const float* h;  ///< [count, count]
  uint8_t* codes;
  float* delta;     ///< Δ
  float* gradient;  ///< Δ H
};

/// Where a code goes, and how far that is in units of the scale: 0 where it stays.
struct CodeMove {
  uint8_t code;
  float step = 0;
};

/// The code nearest to what is `wanted` away.
struct UniformMove {
  float highest;
  CodeMove operator()(uint8_t from, float wanted) const {
    if (!(std::abs(wanted) > kLeastMove)) return {from};
    const auto code = float(from);
    const float next = std::clamp(std::nearbyint(code + wanted), 0.0f, highest);
    return {uint8_t(next), next - code};
  }
};

struct LevelMove {
  const Levels& levels;
  CodeMove operator()(uint8_t from, float wanted) const {
    const uint8_t next = levels.Nearest(levels.value(from) + wanted);
    const float step = levels.value(next) - levels.value(from);
    if (!(std::abs(wanted) > kLeastMove * std::abs(step))) return {from};
    return {next, step};
  }
};

/// One column after the other within a group of channels; whether any code has changed.
template <class Mover>
inline bool MoveBy(const Mover& mover, const Columns& columns, int64_t begin, int64_t end,
                   float scale) {
  bool moved = false;
  for (int64_t j = begin; j < end; ++j) {
    const float* h = columns.h + j * columns.count;
    const float wanted = -columns.gradient[j] / (h[j] * scale);
    const CodeMove move = mover(columns.codes[j], wanted);
    if (move.step == 0 || !std::isfinite(wanted)) continue;
    const float change = move.step * scale;
    columns.codes[j] = move.code;
    columns.delta[j] += change;
    for (int64_t i = 0; i < columns.count; ++i) columns.gradient[i] += change * h[i];
    moved = true;
  }
  return moved;
}

PTQ_VECTOR_CLONES bool MoveUniform(const Columns& columns, int64_t begin, int64_t end, float scale,
                                   float highest) {
  return MoveBy(UniformMove{highest}, columns, begin, end, scale);
}

PTQ_VECTOR_CLONES bool MoveAmong(const Levels& levels, const Columns& columns, int64_t begin,
                                 int64_t end, float scale) {
  return MoveBy(LevelMove{levels}, columns, begin, end, scale);
}

}  // namespace

Descent::Descent(const GramView& gram) : gram_(gram) {
  blocks_.resize(size_t((gram.k() + kDescentBlock - 1) / kDescentBlock));
  ParallelFor(int64_t(blocks_.size()), [&](int64_t i) {
    const int64_t count = std::min(kDescentBlock, gram.k() - i * kDescentBlock);
    blocks_[size_t(i)].resize(size_t(count * count));
    gram.Block(i * kDescentBlock, count, blocks_[size_t(i)].data());
  });
}

bool Descent::Sweep(const RowBlock& block, std::vector<float>& delta,
                    std::vector<float>& gradient) const {
  const int64_t group = block.spec.GroupSizeFor(block.k);
  const int64_t groups = block.spec.GroupsFor(block.k);
  const Levels* const levels = block.spec.codebook;
  const auto highest = float(block.spec.levels() - 1);
  bool moved = false;
  for (int64_t begin = 0; begin < block.k; begin += kDescentBlock) {
    CheckInterrupt();
    const int64_t count = std::min(kDescentBlock, block.k - begin);
    gram_.Gradient(delta.data(), block.rows, begin, count, gradient.data());
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t at = r * block.k + begin;
      const Columns columns{count, blocks_[size_t(begin / kDescentBlock)].data(), block.codes + at,
                            delta.data() + at, gradient.data() + r * count};
      for (int64_t j = 0; j < count;) {
        const int64_t g = (begin + j) / group;
        const int64_t end = std::min(count, (g + 1) * group - begin);
        const float scale = block.scales[r * groups + g];
        const bool any = levels == nullptr ? MoveUniform(columns, j, end, scale, highest)
                                           : MoveAmong(*levels, columns, j, end, scale);
        moved = any || moved;
        j = end;
      }
    }
  }
  return moved;
}

void Descent::Run(const RowBlock& block, int sweeps) const {
  if (gram_.identity()) return;  // rounding to nearest is the optimum
  std::vector<float> delta;
  std::vector<float> gradient(size_t(block.rows * std::min(kDescentBlock, block.k)));
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    Errors(block, delta);  // anew, so that rounding errors do not add up
    if (!Sweep(block, delta, gradient)) return;
  }
}

}  // namespace ptq
