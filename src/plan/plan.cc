// Makes the plan: finds linears, has everything decided, and gathers what reads one activation.
#include "ptq/plan/plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "caches/find_caches.h"
#include "decide.h"
#include "find_linears.h"
#include "folds.h"
#include "mixtures/find_mixtures.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

std::vector<Site> MakeSites(const ExecutionPlan& execution, const std::vector<Linear>& linears) {
  std::vector<Site> sites;
  std::map<ValueId, size_t> site_of;
  for (size_t i = 0; i < linears.size(); ++i) {
    const Linear& linear = linears[i];
    if (!linear.decision.quantizes() || linear.table >= 0) continue;
    const auto [entry, added] = site_of.try_emplace(linear.site, sites.size());
    if (added) {
      Site site;
      site.value = linear.site;
      sites.push_back(std::move(site));
    }
    Site& site = sites[entry->second];
    const Linear& first = linears[site.linears.empty() ? i : size_t(site.linears.front())];
    if (first.k != linear.k) {
      throw InputError("'" + first.name + "' and '" + linear.name +
                       "' multiply the same activation, but have " + std::to_string(first.k) +
                       " and " + std::to_string(linear.k) + " input features");
    }
    site.linears.push_back(int(i));
    site.segment = std::max(site.segment, execution.SegmentOfStep(linear.node));
    if (linear.reused) {
      site.scaling_allowed = false;
      site.scaling_note = "'" + linear.name + "' shares its weight with another node";
    }
    if (linear.IsExpert()) {
      site.scaling_allowed = false;
      site.scaling_note = "'" + linear.name + "' is an expert's, within one node for all";
    }
    if (linear.decision.known) {
      site.scaling_allowed = false;
      site.scaling_note = "'" + linear.name + "' lies on a grid";
    }
  }
  return sites;
}

/// Whether what is computed from a constant alone is read in some segments only, and never by the
/// caller. Each value is looked at once.
bool IsReadWithin(const ExecutionPlan& execution, ValueId id, size_t first, size_t last) {
  const Graph& graph = execution.graph();
  std::vector<ValueId> open = {id};
  std::set<ValueId> seen = {id};
  while (!open.empty()) {
    const Value& value = graph.value(open.back());
    open.pop_back();
    if (value.graph_output) return false;
    for (const Use& use : value.uses) {
      if (use.input < 0) return false;
      if (!execution.steps()[size_t(use.node)].constant) {
        const size_t segment = execution.SegmentOfStep(use.node);
        if (segment < first || segment > last) return false;
        continue;
      }
      for (const ValueId output : graph.outputs(use.node)) {
        if (output != kNoValue && seen.insert(output).second) open.push_back(output);
      }
    }
  }
  return true;
}

/// A product of constants can read the codes where it is used when these are known: between the
/// first and the last site of the weight.
void DecideConstantProducts(const ExecutionPlan& execution, std::vector<Linear>& linears) {
  std::unordered_map<ValueId, std::pair<size_t, size_t>> sites;  // first and last, by weight
  for (const Linear& linear : linears) {
    if (!linear.decision.quantizes()) continue;
    const size_t segment = execution.SegmentOfStep(linear.node);
    auto& [first, last] = sites.try_emplace(linear.part, segment, segment).first->second;
    first = std::min(first, segment);
    last = std::max(last, segment);
  }
  for (Linear& linear : linears) {
    if (linear.constant_products.empty()) continue;
    if (!linear.decision.quantizes()) {
      linear.constant_products.clear();
      continue;
    }
    const std::pair<size_t, size_t> known = sites.at(linear.part);
    std::erase_if(linear.constant_products, [&](const ConstantProduct& product) {
      const ValueId output = execution.graph().outputs(product.node)[0];
      return !IsReadWithin(execution, output, known.first, known.second);
    });
  }
}

}  // namespace

Plan MakePlan(const ExecutionPlan& execution, const PlanOptions& options) {
  Plan plan;
  if (options.half_compute) plan.half = HalfCompute{options.half_io, {}};
  plan.linears = FindLinears(execution);
  if (plan.linears.empty() && options.codes->storage() == Storage::kCodes) {
    throw UnsupportedError("'" + execution.graph().model().path().string() +
                           "' holds no product with a constant weight: nothing to quantize");
  }
  if (options.codes->storage() == Storage::kCodes) {
    plan.mixtures = FindMixtures(execution, plan.linears);
  }
  DecideLinears(execution, options, plan);
  DecideConvolutions(execution, options, plan);
  DecideTables(execution, options, plan);
  DecideConstantProducts(execution, plan.linears);
  plan.sites = MakeSites(execution, plan.linears);
  FindFolds(execution, plan);
  DecideFloats(execution, options, plan);
  if (options.caches.has_value()) plan.caches = FindCaches(execution.graph(), *options.caches);
  if (options.patterns_must_match) RuleList(options.rules).RequireMatches(plan);
  CountBytes(execution.graph(), plan);
  return plan;
}

std::string FoldName(Fold::Kind kind) {
  switch (kind) {
    case Fold::Kind::kMul: return "mul";
    case Fold::Kind::kGain: return "gain";
    case Fold::Kind::kLinearRows: return "rows";
  }
  return "";
}

std::string CodesName(const QuantSpec& spec) {
  return (spec.uniform() ? "int" + std::to_string(spec.bits) : std::string(spec.codebook->name())) +
         (spec.group_size == 0 ? " channel" : " g" + std::to_string(spec.group_size)) +
         (spec.symmetric ? "" : " asym");
}

std::string CodesName(const CacheCodes& codes) {
  return "int" + std::to_string(codes.bits) + (codes.per_channel ? " per channel" : " per tensor");
}

std::string DecisionName(const Decision& decision) {
  return decision.quantizes() ? "quantize" : std::string(decision.form->name());
}

bool RoundsActivations(const Plan& plan) {
  return std::ranges::any_of(plan.linears, [](const Linear& linear) {
    return linear.decision.activations() != Activations::kFloat;
  });
}

std::vector<ValueId> HalvedValues(const Plan& plan) {
  std::set<ValueId> halved;
  const auto add = [&](const Subject& subject) {
    if (subject.decision.halves()) halved.insert(subject.stored);
  };
  for (const Linear& linear : plan.linears) add(linear);
  for (const Table& table : plan.tables) add(table);
  for (const Constant& constant : plan.constants) add(constant);
  return {halved.begin(), halved.end()};
}

}  // namespace ptq
