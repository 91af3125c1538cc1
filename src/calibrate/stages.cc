// Divides segments at the linears of each site, or leaves them whole.
#include "ptq/calibrate/stages.h"

#include <algorithm>
#include <limits>

namespace ptq {
namespace {

/// Steps up to which samples must have gone for a site to be seen.
struct Stop {
  int step = 0;          ///< one past the last of them
  bool in_body = false;  ///< the linears run before it, too: in the iterations of a body
};

Stop StopOf(const ExecutionPlan& execution, const Plan& plan, const Site& site) {
  const Graph& graph = execution.graph();
  Stop stop{std::numeric_limits<int>::max(), false};
  for (const int linear : site.linears) {
    int node = plan.linears[size_t(linear)].node;
    // A body has run when the node has that owns it.
    for (int body = graph.BodyOf(graph.ScopeOf(node)); body != 0;) {
      node = graph.scope(body).owner;
      stop.in_body = true;
      body = graph.BodyOf(graph.ScopeOf(node));
    }
    stop.step = std::min(stop.step, node);
  }
  if (stop.in_body) ++stop.step;
  return stop;
}

/// One stage for each stop of a segment, and the way to its end.
class Divider {
 public:
  Divider(const ExecutionPlan& execution, const Plan& plan, const std::vector<bool>& taken,
          bool lockstep)
      : execution_(execution), plan_(plan), taken_(taken), lockstep_(lockstep) {}

  [[nodiscard]] std::vector<Stage> Divide(const Segment& segment, std::vector<size_t> sites) const {
    const auto stop = [&](size_t site) { return StopOf(execution_, plan_, plan_.sites[site]); };
    std::ranges::stable_sort(sites, {}, [&](size_t site) { return stop(site).step; });
    std::vector<Stage> stages;
    int begin = segment.begin;
    for (const size_t site : sites) {
      const Stop end = stop(site);
      if (stages.empty() || stages.back().range.end != end.step) {
        Stage& stage = stages.emplace_back();
        stage.range.begin = begin;
        stage.range.end = end.step;
        stage.inner = true;
        stage.advances = lockstep_ && !end.in_body;
        if (stage.advances) begin = end.step;
      }
      stages.back().sites.push_back(site);
      const Site& own = plan_.sites[site];
      if (!taken_[site]) {
        stages.back().taps[own.value] = plan_.linears[size_t(own.linears.front())].k;
      }
    }
    Stage& rest = stages.emplace_back();
    rest.range.begin = begin;
    rest.range.end = segment.end;
    return stages;
  }

 private:
  const ExecutionPlan& execution_;
  const Plan& plan_;
  const std::vector<bool>& taken_;
  bool lockstep_;
};

}  // namespace

Stages DivideIntoStages(const ExecutionPlan& execution, const Plan& plan,
                        const std::vector<bool>& taken, Division division) {
  std::vector<std::vector<size_t>> sites_of(execution.segments().size());
  for (size_t site = 0; site < plan.sites.size(); ++site) {
    sites_of[plan.sites[site].segment].push_back(site);
  }
  Stages stages;
  for (size_t i = 0; i < execution.segments().size(); ++i) {
    const Segment& segment = execution.segments()[i];
    const std::vector<size_t>& sites = sites_of[i];
    if (division != Division::kWhole) {
      const bool lockstep = division == Division::kLockstep;
      stages.push_back(Divider(execution, plan, taken, lockstep).Divide(segment, sites));
      continue;
    }
    Stage whole;
    whole.range = segment;
    whole.sites = sites;
    for (const size_t site : sites) {
      const Site& own = plan.sites[site];
      if (!taken[site]) whole.taps[own.value] = plan.linears[size_t(own.linears.front())].k;
    }
    stages.push_back({std::move(whole)});
  }
  return stages;
}

}  // namespace ptq
