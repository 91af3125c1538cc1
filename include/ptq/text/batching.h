// Groups calibration samples of equal length into micro-batches, and some of any length into padded
// ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ptq {

/// Samples of one length that run through the model together.
struct TokenBlock {
  int64_t batch = 0;               ///< B
  int64_t length = 0;              ///< T
  std::vector<int64_t> ids;        ///< [B, T], row-major
  std::vector<size_t> samples;     ///< [B]: index of each row among the samples given
  std::vector<int64_t> real = {};  ///< [B]: tokens in front of the padding; empty: there is none
};

/// Blocks whose activations are held at the same time.
struct MicroBatch {
  std::vector<TokenBlock> blocks;
  int64_t tokens = 0;  ///< sum of B · T

  /// Padded blocks share no micro-batch with others.
  [[nodiscard]] bool padded() const { return !blocks.empty() && !blocks.front().real.empty(); }
};

/// Every sample once, longest first (so that a run that does not fit in memory fails at once),
/// equal lengths in the order given. A block has at most `block_budget` tokens and a micro-batch
/// at most `token_budget`, except that a longer sample is a block, and a longer block a
/// micro-batch, of its own. The blocks and their order do not depend on `token_budget`. Empty
/// samples are left out. Throws UsageError for a budget under 1.
[[nodiscard]] std::vector<MicroBatch> MakeMicroBatches(
    std::span<const std::vector<int64_t>> samples, int64_t token_budget, int64_t block_budget);

/// The first samples in batches as services make them: in the order given, eight rows at most,
/// padded with `pad` to the longest of them. Every batch has some padding: its longest rows lose
/// their last token. At most `tokens` in all, padding included, but one batch in any case; samples
/// of one token are left out.
[[nodiscard]] std::vector<MicroBatch> MakePaddedBatches(
    std::span<const std::vector<int64_t>> samples, int64_t pad, int64_t tokens);

}  // namespace ptq
