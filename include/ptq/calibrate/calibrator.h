// Streams calibration samples through the model, one stage at a time.
#pragma once

#include <map>
#include <vector>

#include "ptq/calibrate/cut_store.h"
#include "ptq/calibrate/stages.h"
#include "ptq/calibrate/timings.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/stats/site_statistics.h"
#include "ptq/text/batching.h"

namespace ptq {

using StatisticsBySite = std::map<ValueId, SiteStatistics>;

/// What makes the original graph compute what the quantized one does, as far as it is known.
struct Overrides {
  Values constants;  ///< in the place of others
  ValueEdits edits;
};

/// Holds the activations on the current cut for every sample; in pairs, when it propagates, as the
/// original and as the quantized weights give them. Stages are taken in order. The blocks of a
/// micro-batch run in parallel; sums are taken in a fixed order, so they do not depend on the
/// number of threads.
class Calibrator {
 public:
  /// `propagates`: statistics are of what the quantized weights give, and of how far that is from
  /// what the original ones give. `cuts` is empty, with StreamsFor(propagates) places for each
  /// block of `batches`. More than `idle_bytes` of freed memory is given back.
  Calibrator(const Executor& executor, const Feeder& feeder, const std::vector<MicroBatch>& batches,
             Stages stages, bool propagates, CutStore cuts, int64_t idle_bytes);

  [[nodiscard]] static size_t StreamsFor(bool propagates) { return propagates ? 2 : 1; }
  [[nodiscard]] const Stages& stages() const { return stages_; }

  /// Takes a stage, an index into stages()[segment], and returns the statistics of its taps.
  /// `quantized` counts where it propagates. Adds to `timings`.
  [[nodiscard]] StatisticsBySite Observe(size_t segment, size_t stage, const Overrides& quantized,
                                         Timings& timings);

  /// The activations on the current cut.
  [[nodiscard]] CutStore& cuts() { return cuts_; }

 private:
  using Seen = std::map<ValueId, std::vector<Tensor>>;  ///< of one block
  [[nodiscard]] std::vector<Seen> RunBatch(const Job& job, const Values& constants, size_t batch,
                                           size_t stream, const Stage& stage,
                                           const ValueEdits& edits);
  [[nodiscard]] size_t blocks() const { return first_block_.back(); }

  const Executor& executor_;
  const Stages stages_;
  const bool propagates_;
  std::vector<bool> padded_;         ///< of each micro-batch: seen for the range of values only
  std::vector<size_t> first_block_;  ///< of each micro-batch, and one past the last
  std::vector<uint64_t> seeds_;      ///< of each block, from its tokens
  CutStore cuts_;                    ///< all blocks of the original, then of the quantized weights
  const int64_t idle_bytes_;
  std::vector<std::vector<std::vector<ValueId>>> goals_;  ///< of each stage: what later ones need
};

}  // namespace ptq
