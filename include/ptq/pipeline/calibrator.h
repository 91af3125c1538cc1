// Streams calibration samples through the model, one segment at a time.
#pragma once

#include <map>
#include <vector>

#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/stats/site_statistics.h"
#include "ptq/text/batching.h"

namespace ptq {

/// An activation to observe and its width K.
using Taps = std::map<ValueId, int64_t>;
using StatisticsBySite = std::map<ValueId, SiteStatistics>;

/// Holds the activations on the current cut for every sample. Segments are taken in graph order:
/// Observe, then perhaps Propagate, then Advance. The blocks of a micro-batch run in parallel; sums
/// are taken in a fixed order, so they do not depend on the number of threads.
class Calibrator {
 public:
  /// `propagates`: whether Propagate will be called, for which the cut before must be kept.
  Calibrator(const Executor& executor, const Feeder& feeder, const std::vector<MicroBatch>& batches,
             bool propagates);

  /// Runs a segment with the original weights and returns the statistics of the taps. `keep_cut`:
  /// whether a later segment will be observed, so that the cut behind this one is needed.
  [[nodiscard]] StatisticsBySite Observe(const Segment& segment, const Taps& taps, bool keep_cut);
  /// Runs the segment again from the cut before it with constants replaced, so that the cut behind
  /// it holds what the quantized model gives.
  void Propagate(const Segment& segment, const Values& overrides);
  /// Moves to the cut behind the segment and frees the one before it.
  void Advance();

 private:
  using Cut = std::vector<std::vector<Values>>;  ///< [micro-batch][block]
  const Executor& executor_;
  const bool propagates_;
  Cut before_;
  Cut after_;
};

}  // namespace ptq
