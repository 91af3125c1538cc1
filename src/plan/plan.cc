// Decides what happens to each linear, and gathers them by the activations that they read.
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
          linears, [&](const Linear& linear) { return Matches(patterns_.back(), linear); });
      if (!any && must_match) {
        std::string message = option;
        message.append(" '").append(text).append("' matches no linear; ");
        throw UsageError(message +
                         "quantize run --dry-run lists their names, and names of ONNX "
                         "nodes match, too");
      }
    }
  }

  /// The pattern that matches, or an empty string.
  [[nodiscard]] std::string Match(const Linear& linear) const {
    for (const NamePattern& pattern : patterns_) {
      if (Matches(pattern, linear)) return pattern.text();
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
    const std::string excluded = exclude.Match(linear);
    if (!excluded.empty()) {
      linear.decision = Decision::kKeep;
      linear.reason = "excluded by '" + excluded + "'";
    } else if (!include.empty() && include.Match(linear).empty()) {
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

size_t SegmentOf(const ExecutionPlan& execution, int node) {
  size_t segment = 0;
  while (execution.segments()[segment].end <= node) ++segment;
  return segment;
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
    site.segment = std::max(site.segment, SegmentOf(execution, linear.node));
    if (linear.shared) {
      site.scaling_allowed = false;
      site.scaling_note = "'" + linear.name + "' shares its weight with another node";
    }
  }
  return sites;
}

/// Whether what is computed from a constant alone is read in some segments only, and never by the
/// caller.
bool IsReadWithin(const ExecutionPlan& execution, ValueId id, size_t first, size_t last) {
  const Graph& graph = execution.graph();
  if (graph.value(id).graph_output) return false;
  return std::ranges::all_of(graph.value(id).uses, [&](const Use& use) {
    if (use.input < 0) return false;
    if (!execution.steps()[size_t(use.node)].constant) {
      const size_t segment = SegmentOf(execution, use.node);
      return first <= segment && segment <= last;
    }
    return std::ranges::all_of(graph.outputs(use.node), [&](ValueId output) {
      return output == kNoValue || IsReadWithin(execution, output, first, last);
    });
  });
}

/// A product of constants can read the codes where it is used when these are known: between the
/// first and the last site of the weight.
void DecideConstantProducts(const ExecutionPlan& execution, std::vector<Linear>& linears) {
  for (Linear& linear : linears) {
    if (linear.constant_products.empty()) continue;
    if (linear.decision != Decision::kQuantize) {
      linear.constant_products.clear();
      continue;
    }
    size_t first = SegmentOf(execution, linear.node);
    size_t last = first;
    for (const Linear& other : linears) {
      if (other.part != linear.part || other.decision != Decision::kQuantize) continue;
      first = std::min(first, SegmentOf(execution, other.node));
      last = std::max(last, SegmentOf(execution, other.node));
    }
    std::erase_if(linear.constant_products, [&](const ConstantProduct& product) {
      const ValueId output = execution.graph().outputs(product.node)[0];
      return !IsReadWithin(execution, output, first, last);
    });
  }
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
  DecideConstantProducts(execution, plan.linears);
  plan.sites = MakeSites(execution, plan.linears);
  for (Site& site : plan.sites) site.fold = FindFold(execution, plan, site);
  return plan;
}

bool Matches(const NamePattern& pattern, const Linear& linear) {
  return pattern.Matches(linear.name) ||
         (!linear.node_name.empty() && pattern.Matches(linear.node_name));
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
