// The grid "clip": shrinks the range of a group in ten steps, as AWQ does.
#include "grid_by_blocks.h"

namespace ptq {
namespace {

/// AWQ's candidates (Lin et al. 2023, §4 and the authors' code): bounds max|w|·(1 − i/20), i < 10.
constexpr int kShrinkSteps = 10;
constexpr float kShrinkStep = 1.0f / 20;

}  // namespace

Grid MakeClipGrid(const GramView& gram) {
  return [&gram](const RowBlock& block) {
    const auto candidate = [&](const GroupRange& range, int step) {
      return GridOf(range, 1.0f - float(step) * kShrinkStep, block.spec);
    };
    FitByBlocks(gram, block, kShrinkSteps, candidate, /*fit_scale=*/false);
  };
}

}  // namespace ptq
