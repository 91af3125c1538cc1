// The grid "block": tries many ranges on a group's block of H, and fits the scale of the best.
#include "grid_by_blocks.h"

namespace ptq {

/// The best for rounding to nearest; in front of GPTQ the search by the diagonal alone is as good.
Grid MakeBlockGrid(const GramView& gram) {
  return [&gram](const RowBlock& block) {
    const auto candidate = [&](const GroupRange& range, int index) {
      return index == 0 ? GridOf(range, 1.0f, block.spec)
                        : SearchCandidate(range, index - 1, block.spec);
    };
    FitByBlocks(gram, block, 1 + SearchCandidates(block.spec), candidate, /*fit_scale=*/true);
  };
}

}  // namespace ptq
