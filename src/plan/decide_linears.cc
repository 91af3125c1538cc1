// Decides what happens to each linear: by patterns and rules, as the head, as a router, or as asked
// for.
#include <algorithm>
#include <map>
#include <utility>

#include "decide.h"
#include "find_tensors.h"
#include "head.h"
#include "mixtures/router.h"

#include "ptq/base/error.h"
#include "ptq/plan/known_codes.h"
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

/// Decides about one linear after the other.
class LinearDecider {
 public:
  LinearDecider(const ExecutionPlan& execution, const PlanOptions& options,
                const std::vector<Linear>& linears)
      : execution_(execution),
        graph_(execution.graph()),
        options_(options),
        include_(options.include, linears, "--include", options.patterns_must_match),
        exclude_(options.exclude, linears, "--exclude", options.patterns_must_match),
        rules_(options.rules) {}

  void Decide(Linear& linear) {
    linear.decision.parameters = options_.parameters;
    linear.decision.parameters.spec.scale_type =
        linear.operand_type == DType::kFloat32 ? ScaleType::kFloat32 : ScaleType::kFloat16;
    linear.is_head = IsHead(execution_, linear);
    const std::string excluded = exclude_.Match(linear);
    if (!excluded.empty()) return KeepAsked(linear, "excluded by '" + excluded + "'");
    if (!include_.empty() && include_.Match(linear).empty()) {
      return Keep(linear, "not matched by --include");
    }
    const Rule* const rule = rules_.For(linear);
    if (rule != nullptr) {
      rule->ApplyTo(linear.decision.parameters);
      if (rule->ChoosesMethod()) linear.decision.method = rule->MethodFrom(options_.method);
    }
    const bool named = rule != nullptr && rule->ChoosesForm() && !rule->form.empty();
    std::string on_no_grid;
    if (TakesGrid(linear, named ? rule->form : "", on_no_grid)) return;
    DecideBySearch(linear, rule, named);
    if (!on_no_grid.empty() && linear.decision.quantizes()) {
      std::string& reason = linear.decision.reason;
      reason = on_no_grid + (reason.empty() ? "" : "; " + reason);
    }
  }

  /// Has the experts of a mixture decided about as those of one node, where that is asked for or
  /// better, and all of them can be in it.
  void DecideMixture(int index, const Mixture& mixture, std::vector<Linear>& linears) {
    std::vector<Linear*> all;
    for (const auto& [member, place] : mixture.members) all.push_back(&linears[size_t(member)]);
    if (!std::ranges::all_of(all, [&](auto* one) { return JoinsMixture(*one); })) return;
    std::vector<Decision> alone;
    for (size_t i = 0; i < all.size(); ++i) {
      alone.push_back(std::exchange(all[i]->decision, Decision()));
      all[i]->place = mixture.members[i].second;
      all[i]->place.mixture = index;
      Decide(*all[i]);
    }
    const auto refused =
        std::ranges::find_if(all, [](auto* one) { return !one->decision.quantizes(); });
    const std::string why =
        refused == all.end() ? WhyExpertsDiffer(all) : (*refused)->decision.reason;
    if (why.empty()) return;
    for (size_t i = 0; i < all.size(); ++i) {
      all[i]->decision = std::move(alone[i]);
      all[i]->decision.reason = "not with the other experts in one node: " + why;
      all[i]->place = ExpertPlace();
    }
  }

  /// A run in which nothing can be done is a mistake that scripts should see.
  void RequireAccepted() const {
    if (refused_ == 0 || accepted_ > 0) return;
    throw UnsupportedError("'" + graph_.model().path().string() + "': none of the " +
                           std::to_string(refused_) + " linears that are to be quantized can be (" +
                           first_refusal_ + "); nothing to quantize");
  }

 private:
  /// Whether a linear that was decided about alone had better be in a node with the other experts:
  /// gathered matrices where the form says so, others where that form was asked for.
  [[nodiscard]] bool JoinsMixture(const Linear& linear) const {
    if (!linear.decision.quantizes() || linear.reused || linear.decision.known ||
        !linear.constant_products.empty() || options_.half_compute) {
      return false;
    }
    const Rule* const rule = rules_.For(linear);
    const bool named = rule != nullptr && !rule->form.empty();
    const Form& asked = named ? FindForm(options_, rule->form) : *options_.codes;
    if (asked.ForMixtures() == asked.name()) return true;
    return linear.gather >= 0 && !named && !linear.decision.form->ForMixtures().empty();
  }

  /// Whether the linear keeps the codes of the grid that it lies on; else why not, where it might.
  bool TakesGrid(Linear& linear, const std::string& named, std::string& why) {
    const Form& form = named.empty() ? *options_.codes : FindForm(options_, named);
    const bool wanted = !linear.is_head || !named.empty() || options_.head != Precision::kKeep;
    if (!options_.takes_grids || form.storage() != Storage::kCodes || !wanted) return false;
    if (!FindKnownSpec(graph_, form, linear, why)) return false;
    linear.decision.form = &form;
    linear.decision.known = true;
    linear.decision.ruled = !named.empty();
    linear.decision.reason = "lies on a grid";
    ++accepted_;
    return true;
  }

  /// As the options or a rule want it.
  void DecideBySearch(Linear& linear, const Rule* rule, bool named) {
    if (linear.IsExpert() && options_.half_compute) {
      return Keep(linear, "an expert of a graph that is turned to FP16");
    }
    const bool ruled = rule != nullptr && rule->ChoosesForm();
    if (linear.is_head && !ruled) return DecideHead(linear);
    if (options_.codes->storage() == Storage::kCodes && !linear.is_head && !named &&
        include_.empty() && IsRouter(execution_, linear)) {
      return Keep(linear, "router of a mixture of experts (--include quantizes it)");
    }
    linear.decision.ruled = named;
    linear.decision.asked = named && rule->form == KeepForm().name();
    const Form& form = named ? FindForm(options_, rule->form) : *options_.codes;
    if (form.storage() == Storage::kHalf && !MayBecomeHalf(linear)) {
      Keep(linear, "its users need it as it is");
    } else {
      Choose(form, linear);
    }
    if (rule == nullptr) return;
    std::string& reason = linear.decision.reason;
    reason = "rule '" + rule->pattern + "'" + (reason.empty() ? "" : ": " + reason);
  }

  [[nodiscard]] bool MayBecomeHalf(const Linear& linear) const {
    return linear.stored != kNoValue && MayChangeType(graph_, linear.stored);
  }

  void Choose(const Form& form, Linear& linear) {
    const bool accepted = ChooseForm(graph_, options_, form, FactsOf(graph_, linear), linear);
    if (form.storage() != Storage::kCodes) return;
    ++(accepted ? accepted_ : refused_);
    if (!accepted && first_refusal_.empty()) {
      first_refusal_ = linear.name + ": " + linear.decision.reason;
    }
  }

  /// Who asks for 7 bits, so that no processor saturates, means all codes that fill a byte.
  [[nodiscard]] int ByteBits() const { return options_.parameters.spec.bits == 7 ? 7 : 8; }

  void DecideHead(Linear& linear) {
    switch (options_.head) {
      case Precision::kKeep: return KeepAsked(linear, "LM head, kept as it is (--lm-head keep)");
      case Precision::kHalf:
        Choose(HalfForm(), linear);
        linear.decision.reason =
            "LM head, " + (linear.decision.halves() ? "stored as FP16" : linear.decision.reason) +
            " (--lm-head fp16)";
        return;
      case Precision::kInt8:
      case Precision::kInt4:
        linear.decision.parameters.spec.bits = options_.head == Precision::kInt8 ? ByteBits() : 4;
        return Choose(*options_.codes, linear);
    }
  }

  const ExecutionPlan& execution_;
  const Graph& graph_;
  const PlanOptions& options_;
  const Selection include_;
  const Selection exclude_;
  const RuleList rules_;
  int accepted_ = 0;
  int refused_ = 0;
  std::string first_refusal_;
};

/// A stored tensor that one linear halves is FP16 for those that would keep it, too.
void ShareHalves(std::vector<Linear>& linears) {
  std::map<ValueId, std::string> halves;
  for (const Linear& linear : linears) {
    if (linear.decision.halves()) halves.try_emplace(linear.stored, linear.name);
  }
  for (Linear& linear : linears) {
    const auto tied = halves.find(linear.stored);
    if (tied == halves.end() || !linear.decision.keeps()) continue;
    linear.decision.form = &HalfForm();
    linear.decision.reason = "tied to '" + tied->second + "'";
  }
}

/// A weight that several linears use has one set of codes: as the first of them is to have it.
/// Their operators may differ, unless the codes have another meaning there.
void UniteReused(std::vector<Linear>& linears) {
  std::map<ValueId, const Linear*> first;
  for (Linear& linear : linears) {
    if (!linear.reused || !linear.decision.quantizes()) continue;
    const Linear& known = *first.try_emplace(linear.part, &linear).first->second;
    linear.decision.parameters.spec = known.decision.parameters.spec;
    linear.decision.known = known.decision.known;
    if (linear.decision.form->codebook() != known.decision.form->codebook()) {
      linear.decision.form = known.decision.form;
    }
    linear.decision.method = known.decision.method;
  }
}

}  // namespace

void DecideLinears(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan) {
  LinearDecider decider(execution, options, plan.linears);
  for (Linear& linear : plan.linears) {
    // What has a reason was found to be none that can be quantized.
    if (linear.decision.reason.empty()) decider.Decide(linear);
  }
  for (size_t i = 0; i < plan.mixtures.size(); ++i) {
    decider.DecideMixture(int(i), plan.mixtures[i], plan.linears);
  }
  decider.RequireAccepted();
  UniteReused(plan.linears);
  UniteExperts(execution.graph(), plan.linears);
  ShareHalves(plan.linears);
}

bool Matches(const NamePattern& pattern, const Linear& linear) {
  return pattern.Matches(linear.name) ||
         (!linear.node_name.empty() && pattern.Matches(linear.node_name));
}

}  // namespace ptq
