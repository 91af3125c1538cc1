// A site searched on given statistics, and what its codes lose on others.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/executor.h"
#include "ptq/stats/site_statistics.h"

namespace ptq {

/// The linears of a site that a plan gives codes, with a method; weights are read when needed.
class SiteSearch {
 public:
  /// Both outlive this.
  SiteSearch(const Executor& executor, const Plan& plan, Method method)
      : executor_(executor), plan_(plan), method_(std::move(method)) {}

  /// Indices into the plan's linears, in the order of results.
  [[nodiscard]] std::vector<int> LinearsOf(const Site& site) const;
  /// Codes for these statistics, which have seen tokens. Throws what QuantizeSite throws.
  [[nodiscard]] SiteResult Search(const Site& site, const SiteStatistics& statistics) const;
  /// What codes lose under statistics that may be others, tr(ΔHΔᵀ) ÷ tr(WHWᵀ) of each linear; 0
  /// where nothing is put out.
  [[nodiscard]] std::vector<double> RelativeLosses(const Site& site, const SiteResult& found,
                                                   const SiteStatistics& statistics) const;

 private:
  const Executor& executor_;
  const Plan& plan_;
  Method method_;
};

}  // namespace ptq
