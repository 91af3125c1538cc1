// Compares sites of two files of statistics by themselves, and by what a search makes of them.
#include "drift.h"

#include <numeric>

#include "site_search.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/companions.h"
#include "ptq/pipeline/run.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

double Mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

std::string NamesOf(const Plan& plan, const std::vector<int>& linears) {
  std::string names;
  for (const int index : linears) {
    names += (names.empty() ? "" : ", ") + plan.linears[size_t(index)].name;
  }
  return names;
}

bool IsUsable(const SiteStatistics& statistics) {
  return statistics.count() > 0 && statistics.IsFinite() && !statistics.gram().empty();
}

}  // namespace

std::vector<SiteDrift> CompareStatistics(const Recipe& recipe, const std::filesystem::path& before,
                                         const std::filesystem::path& now) {
  const RunReport report = PlanRun(recipe);
  Companions companions({recipe.source}, recipe);
  const Source& source = companions.source(0);
  const StatisticsFile first(before), second(now);
  Method method = MethodOf(recipe);
  method.propagate = false;  // codes for a site's own samples are compared
  const SiteSearch search(source.executor, report.plan, method);
  std::vector<SiteDrift> drifts;
  Progress progress("comparing", std::ssize(report.plan.sites));
  for (const Site& site : report.plan.sites) {
    CheckInterrupt();
    progress.Advance();
    const std::vector<int> linears = search.LinearsOf(site);
    if (linears.empty()) continue;
    SiteDrift drift;
    drift.site = source.graph.value(site.value).name;
    drift.linears = NamesOf(report.plan, linears);
    Progress::ShowDetail(drift.linears);
    const SiteStatistics a = first.Read(drift.site), b = second.Read(drift.site);
    if (!IsUsable(a) || !IsUsable(b)) continue;
    drift.statistics = DriftBetween(a, b);
    const SiteResult on_a = search.Search(site, a), on_b = search.Search(site, b);
    drift.loss_before_on_before = Mean(search.RelativeLosses(site, on_a, a));
    drift.loss_before = Mean(search.RelativeLosses(site, on_a, b));
    drift.loss_now = Mean(search.RelativeLosses(site, on_b, b));
    drifts.push_back(std::move(drift));
    source.executor.DropWeights(source.executor.plan().segments()[site.segment]);
  }
  return drifts;
}

}  // namespace ptq
