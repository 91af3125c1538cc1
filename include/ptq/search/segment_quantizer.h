// Quantizes the linears of one segment and says what the graph must then contain.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "ptq/calibrate/calibrator.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/executor.h"
#include "ptq/search/common_weights.h"
#include "ptq/search/segment_result.h"

namespace ptq {

/// Takes the segments in order. A weight with several users is quantized once, at its last site,
/// with the statistics of all of them. The sites of a segment may be divided among several objects,
/// except that one gets all sites of reused weights.
class SegmentQuantizer {
 public:
  SegmentQuantizer(const Executor& executor, const Plan& plan, Method method,
                   OneOfSeveral others = {});

  /// Quantizes the linears of some sites of a segment, indices into Plan::sites in order.
  /// `statistics` of these; empty when the method needs none.
  [[nodiscard]] SegmentResult Quantize(std::span<const size_t> sites, StatisticsBySite statistics);
  /// Makes the operands of all linears that are in a result.
  void AddOperands(SegmentResult& result) const;
  /// When the results of all sites of a segment are together and have their operands: divides the
  /// rows of linears that scales of other sites fold into.
  void FoldRows(SegmentResult& result);
  /// Whether a reused weight still waits for another site.
  [[nodiscard]] bool HasPending() const { return !pending_.empty(); }
  [[nodiscard]] const std::vector<Outcome>& outcomes() const { return outcomes_; }
  /// Takes over what became of a linear in an earlier run, or on another rank.
  void Restore(int linear, const Outcome& outcome) { outcomes_[size_t(linear)] = outcome; }

 private:
  /// A weight with several users.
  struct Reused {
    std::vector<int> linears;
    int waiting = 0;
    std::set<ValueId> sites;  ///< whose statistics are in `merged`
    std::optional<SiteStatistics> merged;
    std::string note;  ///< of a site without statistics
  };

  /// What is known of a site's activations: statistics, or why there are none (nothing where the
  /// method needs none).
  struct Seen {
    SiteStatistics* statistics = nullptr;
    std::string note;
  };
  [[nodiscard]] Seen SeenAt(const Site& site, StatisticsBySite& statistics) const;
  [[nodiscard]] bool CorrectsBias(const Site& site) const;
  void QuantizeSiteLinears(const Site& site, const std::vector<int>& linears, const Seen& seen,
                           SegmentResult& result);
  void SearchSite(const Site& site, const std::vector<int>& linears, const Seen& seen,
                  SegmentResult& result);
  void SearchOthers(const Site& site, const std::vector<int>& linears, const Seen& seen,
                    SegmentResult& result);
  void SayWhatWasFound(const std::vector<int>& linears, const std::string& fold,
                       std::chrono::duration<double> time) const;
  void TakeCommonSite(const Site& site, const std::vector<int>& linears, const Seen& seen,
                      SegmentResult& result);
  void CollectReused(const Site& at, int linear, const Seen& seen, SegmentResult& result);
  void Record(int linear, const SiteResult& site_result, const LinearResult& linear_result,
              const Seen& seen);
  /// Of a linear, and of linears that are scaled together.
  [[nodiscard]] const Method& MethodOf(const Linear& linear) const;
  [[nodiscard]] Method MethodOf(const std::vector<int>& linears) const;
  /// Those of activations that are found beforehand.
  void RecordLevels(int linear, const std::optional<ActivationLevels>& levels);
  [[nodiscard]] float SmallestScale(const Site& site, const SiteStatistics& statistics) const;

  const Executor& executor_;
  const Plan& plan_;
  Method method_;
  OneOfSeveral others_;
  std::vector<Outcome> outcomes_;
  std::map<ValueId, Reused> reused_;
  std::map<ValueId, Reused> pending_;
};

}  // namespace ptq
