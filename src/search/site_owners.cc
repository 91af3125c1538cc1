// Gives the sites of a segment to whoever of the ranks has least to search.
#include "ptq/search/site_owners.h"

#include <algorithm>
#include <map>

namespace ptq {
namespace {

/// The search multiplies rows by the Gram matrix: N K² for each linear.
double SearchCost(const Plan& plan, const Site& site) {
  double cost = 0;
  for (const int index : site.linears) {
    const Linear& linear = plan.linears[size_t(index)];
    cost += double(linear.n) * double(linear.k) * double(linear.k);
  }
  return cost;
}

bool HasReused(const Plan& plan, const Site& site) {
  return std::ranges::any_of(site.linears,
                             [&](int linear) { return plan.linears[size_t(linear)].reused; });
}

}  // namespace

std::vector<int> SiteOwners(const Plan& plan, int ranks) {
  std::vector<int> owners(plan.sites.size(), 0);
  std::map<size_t, std::vector<size_t>> segments;
  for (size_t i = 0; i < plan.sites.size(); ++i) segments[plan.sites[i].segment].push_back(i);
  for (auto& [segment, sites] : segments) {
    std::vector<double> load(size_t(ranks), 0.0);
    std::vector<std::pair<double, size_t>> free;
    for (const size_t site : sites) {
      const double cost = SearchCost(plan, plan.sites[site]);
      if (HasReused(plan, plan.sites[site])) {
        load[0] += cost;
      } else {
        free.emplace_back(cost, site);
      }
    }
    std::ranges::stable_sort(free, [](const auto& a, const auto& b) { return a.first > b.first; });
    for (const auto& [cost, site] : free) {
      const auto least = std::ranges::min_element(load);
      *least += cost;
      owners[site] = int(least - load.begin());
    }
  }
  return owners;
}

}  // namespace ptq
