// Quantizes the linears of one segment and says what the graph must then contain.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "ptq/pipeline/calibrator.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/executor.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {

class SharedWeights;

struct QuantizedLinear {
  int linear = 0;  ///< index into Plan::linears
  std::shared_ptr<const QuantizedMatrix> q;
  std::vector<float> bias;  ///< [N] to be added to its outputs; empty: none
};

struct ScaledSite {
  Site site;  ///< with the fold that is really used
  std::vector<float> scale;
};

struct SegmentResult {
  std::vector<ScaledSite> scaled;
  std::vector<QuantizedLinear> linears;
  /// The constants that make the original graph compute what the quantized one does,
  /// Q(W·diag(s))·diag(s)⁻¹, by the operands that they stand for.
  DeferredWeights operands;
  Values additions;  ///< and what to add to its values
};

/// Takes the segments in order. A weight with several users is quantized once, at its last site,
/// with the statistics of all of them. The sites of a segment may be divided among several objects,
/// except that one gets all sites of shared weights.
class SegmentQuantizer {
 public:
  /// `others` knows this plan as that of `model`; null when no other model has its weights.
  SegmentQuantizer(const Executor& executor, const Plan& plan, Method method,
                   const SharedWeights* others = nullptr, size_t model = 0);

  /// Quantizes the linears of some sites of a segment, indices into Plan::sites in order.
  /// `statistics` of these; empty when the method needs none.
  [[nodiscard]] SegmentResult Quantize(std::span<const size_t> sites, StatisticsBySite statistics);
  /// Makes the operands of all linears that are in a result.
  void AddOperands(SegmentResult& result) const;
  /// When the results of all sites of a segment are together and have their operands: divides the
  /// rows of linears that scales of other sites fold into.
  void FoldRows(SegmentResult& result);
  /// Whether a shared weight still waits for another site.
  [[nodiscard]] bool HasPending() const { return !pending_.empty(); }
  [[nodiscard]] const std::vector<LinearOutcome>& outcomes() const { return outcomes_; }
  /// Takes over what became of a linear in an earlier run, or on another rank.
  void Restore(int linear, const LinearOutcome& outcome) { outcomes_[size_t(linear)] = outcome; }

 private:
  /// A weight with several users.
  struct Shared {
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
  void SayWhatWasFound(const std::vector<int>& linears, const std::string& fold,
                       std::chrono::duration<double> time) const;
  void ShareSite(const Site& site, const std::vector<int>& linears, const Seen& seen,
                 SegmentResult& result);
  void CollectShared(const Site& at, int linear, const Seen& seen, SegmentResult& result);
  void Record(int linear, const SiteResult& site_result, const LinearResult& linear_result,
              const Seen& seen);
  [[nodiscard]] MatrixRows WeightRows(const Linear& linear) const;
  [[nodiscard]] float SmallestScale(const Site& site, const SiteStatistics& statistics) const;

  const Executor& executor_;
  const Plan& plan_;
  Method method_;
  const SharedWeights* others_;
  size_t model_;
  std::vector<LinearOutcome> outcomes_;
  std::map<ValueId, Shared> shared_;
  std::map<ValueId, Shared> pending_;
};

}  // namespace ptq
