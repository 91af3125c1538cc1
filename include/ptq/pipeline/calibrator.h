// Streams calibration samples through the model, one segment at a time.
#pragma once

#include <map>
#include <vector>

#include "ptq/pipeline/cut_store.h"
#include "ptq/pipeline/timings.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/stats/site_statistics.h"
#include "ptq/text/batching.h"

namespace ptq {

/// An activation to observe and its width K.
using Taps = std::map<ValueId, int64_t>;
using StatisticsBySite = std::map<ValueId, SiteStatistics>;

/// Holds the activations on the current cut for every sample. Segments are taken in graph order, up
/// to the last that has taps: Observe, then, when it propagates, Propagate. The blocks of a
/// micro-batch run in parallel; sums are taken in a fixed order, so they do not depend on the
/// number of threads.
class Calibrator {
 public:
  /// `taps` of each segment. `propagates`: later segments see what the quantized weights give, and
  /// Propagate moves to the next cut; otherwise Observe does. `cuts` is empty, with a place for
  /// each block of `batches`. More than `idle_bytes` of freed memory is given back.
  Calibrator(const Executor& executor, const Feeder& feeder, const std::vector<MicroBatch>& batches,
             const std::vector<Taps>& taps, bool propagates, CutStore cuts, int64_t idle_bytes);

  /// Runs a segment with the original weights and returns the statistics of its taps. Adds to
  /// `timings`.
  [[nodiscard]] StatisticsBySite Observe(size_t segment, Timings& timings);
  /// Runs the segment again, with constants replaced.
  void Propagate(size_t segment, const Values& overrides);

  /// The activations on the current cut.
  [[nodiscard]] CutStore& cuts() { return cuts_; }

 private:
  using Seen = std::map<ValueId, std::vector<Tensor>>;  ///< of one block
  void RunBatch(const Job& job, const Values& constants, size_t batch, bool advance,
                std::vector<Seen>* seen);
  const Executor& executor_;
  const std::vector<Taps> taps_;
  const bool propagates_;
  std::vector<size_t> first_block_;  ///< of each micro-batch, and one past the last
  CutStore cuts_;
  const int64_t idle_bytes_;
  std::vector<std::vector<ValueId>> goals_;  ///< of each segment: what later taps need
};

}  // namespace ptq
