#include "ptq/plan/plan.h"

#include <algorithm>
#include <map>

#include "find_linears.h"
#include "folds.h"
#include "head.h"
#include "router.h"

#include "ptq/base/error.h"
#include "ptq/plan/names.h"

namespace ptq {
namespace {

/// Which linears each pattern matches; a pattern that matches none is a mistake of the user.
class Selection {
 public:
  Selection(const std::vector<std::string>& patterns, const std::vector<Linear>& linears,
            const std::string& option, bool must_match) {
    for (const std::string& text : patterns) {
      patterns_.emplace_back(text);
      const bool any = std::ranges::any_of(
          linears, [&](const Linear& linear) { return patterns_.back().Matches(linear.name); });
      if (!any && must_match) {
        std::string message = option;
        message.append(" '").append(text).append("' matches no linear; ");
        throw UsageError(message + "quantize run --dry-run lists their names");
      }
    }
  }

  /// The pattern that matches, or an empty string.
  [[nodiscard]] std::string Match(const std::string& name) const {
    for (const NamePattern& pattern : patterns_) {
      if (pattern.Matches(name)) return pattern.text();
    }
    return "";
  }
  [[nodiscard]] bool empty() const { return patterns_.empty(); }

 private:
  std::vector<NamePattern> patterns_;
};

void DecideHead(Linear& linear, const PlanOptions& options) {
  switch (options.head) {
    case HeadForm::kKeep:
      linear.decision = Decision::kKeep;
      linear.reason = "LM head, kept as it is (--lm-head keep)";
      return;
    case HeadForm::kHalf: {
      const bool wide = linear.stored_type == DType::kFloat32;
      linear.decision = wide ? Decision::kHalf : Decision::kKeep;
      linear.reason = wide ? "LM head, stored as FP16 (--lm-head fp16)"
                           : "LM head, already in 16 bits (--lm-head fp16)";
      return;
    }
    case HeadForm::kInt8:
    case HeadForm::kInt4: linear.spec.bits = options.head == HeadForm::kInt8 ? 8 : 4; return;
  }
}

void Decide(std::vector<Linear>& linears, const ExecutionPlan& execution,
            const PlanOptions& options) {
  const Selection include(options.include, linears, "--include", options.patterns_must_match);
  const Selection exclude(options.exclude, linears, "--exclude", options.patterns_must_match);
  for (Linear& linear : linears) {
    if (linear.decision == Decision::kKeep) continue;
    linear.spec = options.spec;
    linear.spec.scale_type =
        linear.operand_type == DType::kFloat32 ? ScaleType::kFloat32 : ScaleType::kFloat16;
    linear.is_head = IsHead(execution, linear);
    const std::string excluded = exclude.Match(linear.name);
    if (!excluded.empty()) {
      linear.decision = Decision::kKeep;
      linear.reason = "excluded by '" + excluded + "'";
    } else if (!include.empty() && include.Match(linear.name).empty()) {
      linear.decision = Decision::kKeep;
      linear.reason = "not matched by --include";
    } else if (linear.is_head) {
      DecideHead(linear, options);
    } else if (include.empty() && IsRouter(execution, linear)) {
      linear.decision = Decision::kKeep;
      linear.reason = "router of a mixture of experts (--include quantizes it)";
    }
  }
}

std::vector<Site> MakeSites(const ExecutionPlan& execution, const std::vector<Linear>& linears) {
  std::vector<Site> sites;
  std::map<ValueId, size_t> site_of;
  for (size_t i = 0; i < linears.size(); ++i) {
    const Linear& linear = linears[i];
    if (linear.decision != Decision::kQuantize) continue;
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
    size_t segment = 0;
    while (execution.segments()[segment].end <= linear.node) ++segment;
    site.segment = std::max(site.segment, segment);
    if (linear.shared) {
      site.scaling_allowed = false;
      site.scaling_note = "'" + linear.name + "' shares its weight with another node";
    }
  }
  return sites;
}

}  // namespace

Plan MakePlan(const ExecutionPlan& execution, const PlanOptions& options) {
  Plan plan;
  plan.linears = FindLinears(execution);
  if (plan.linears.empty()) {
    throw UnsupportedError("'" + execution.graph().model().path().string() +
                           "' holds no product with a constant weight: nothing to quantize");
  }
  Decide(plan.linears, execution, options);
  plan.sites = MakeSites(execution, plan.linears);
  for (Site& site : plan.sites) site.fold = FindFold(execution, plan, site);
  return plan;
}

std::string DecisionName(Decision decision) {
  switch (decision) {
    case Decision::kQuantize: return "quantize";
    case Decision::kHalf: return "fp16";
    case Decision::kKeep: return "keep";
  }
  return "";
}

}  // namespace ptq
