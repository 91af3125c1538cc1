// Decides what happens to the filters of convolutions: as they are, FP16, or INT8 codes that a
// runtime makes floats of when it loads the model.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "decide.h"

#include "ptq/plan/names.h"

namespace ptq {
namespace {

/// Smaller filters are not worth two nodes and a tensor of scales.
constexpr int64_t kFewestWeights = 1024;
constexpr int kCodeBits = 8;

bool IsTransposed(const Node& node) { return node.op_type() == "ConvTranspose"; }

bool Convolves(const Node& node) {
  return node.domain().empty() && (node.op_type() == "Conv" || IsTransposed(node));
}

int64_t GroupsOf(const Node& node) { return IsTransposed(node) ? node.Int("group", 1) : 0; }

/// Whether a linear is in truth a convolution that reads its stored filters as they are.
bool IsConvolution(const Graph& graph, const Linear& linear) {
  return linear.stored != kNoValue && linear.stored == linear.operand &&
         Convolves(graph.nodes()[size_t(linear.node)]) &&
         graph.value(linear.stored).constant->dims_size() > 2;
}

Constant FiltersOf(const Graph& graph, const Linear& linear) {
  const Node& node = graph.nodes()[size_t(linear.node)];
  const auto& dims = graph.value(linear.stored).constant->dims();
  Constant filters;
  filters.name = linear.name;
  filters.node_name = linear.node_name;
  filters.stored = linear.stored;
  filters.stored_type = linear.stored_type;
  filters.operand_type = linear.stored_type;
  filters.groups = GroupsOf(node);
  int64_t elements = 1;
  for (const int64_t dim : dims) elements *= dim;
  if (elements == 0) return filters;
  filters.n = filters.groups == 0 ? dims[0] : dims[1] * filters.groups;
  filters.k = elements / filters.n;
  filters.taps = elements / (dims[0] * dims[1]);
  for (const Use& use : graph.value(linear.stored).uses) {
    if (use.node >= 0 && use.input == 1) filters.convolutions.push_back(use.node);
  }
  return filters;
}

/// Why filters cannot become codes, whatever they are; empty when they can.
std::string WhyNoCodes(const Graph& graph, const Constant& filters) {
  const Value& value = graph.value(filters.stored);
  if (filters.n * filters.k < kFewestWeights) {
    return "fewer than " + std::to_string(kFewestWeights) + " weights";
  }
  if (value.graph_output) return "the caller reads its floats";
  for (const Use& use : value.uses) {
    if (use.node < 0 || use.input < 0) return "a subgraph or the caller reads its floats";
    const Node& node = graph.nodes()[size_t(use.node)];
    if (!Convolves(node) || use.input != 1) {
      return "the operator " + node.op_type() + " reads its floats";
    }
    if (GroupsOf(node) != filters.groups) return "its convolutions see it in different ways";
  }
  return "";
}

/// Why not; empty when they are codes now.
std::string GiveCodes(const Graph& graph, const PlanOptions& options, Constant& filters) {
  std::string why = WhyNoCodes(graph, filters);
  FormParameters parameters;
  parameters.spec.bits = kCodeBits;
  parameters.spec.group_size = 0;
  parameters.spec.scale_type =
      filters.operand_type == DType::kFloat16 ? ScaleType::kFloat16 : ScaleType::kFloat32;
  const Form& codes = *options.filter_codes;
  if (why.empty()) why = codes.Refusal(FactsOf(graph, filters), parameters);
  if (!why.empty()) return why;
  filters.decision.form = &codes;
  filters.decision.parameters = parameters;
  return "";
}

/// What a rule asks for filters; nothing when it says nothing of them: codes have 8 bits.
std::optional<Precision> PrecisionOf(const Rule& rule) {
  if (rule.form == KeepForm().name()) return Precision::kKeep;
  if (rule.form == HalfForm().name()) return Precision::kHalf;
  if (rule.bits == kCodeBits) return Precision::kInt8;
  return std::nullopt;
}

class ConvolutionDecider {
 public:
  ConvolutionDecider(const Graph& graph, const PlanOptions& options)
      : graph_(graph),
        options_(options),
        include_(options.include.begin(), options.include.end()),
        exclude_(options.exclude.begin(), options.exclude.end()),
        rules_(options.rules) {}

  /// Filters that become codes; else nothing, and the linear is decided.
  [[nodiscard]] std::optional<Constant> Decide(Linear& linear) const {
    const auto matches = [&](const NamePattern& pattern) { return Matches(pattern, linear); };
    if (std::ranges::any_of(exclude_, matches)) return std::nullopt;
    if (!include_.empty() && std::ranges::none_of(include_, matches)) return std::nullopt;
    const Rule* rule = rules_.For(linear);
    const auto own = rule == nullptr ? std::nullopt : PrecisionOf(*rule);
    if (!own.has_value()) rule = nullptr;
    const Precision asked = own.value_or(options_.convolutions);
    if (rule == nullptr && asked == Precision::kKeep) return std::nullopt;
    const std::string reason = rule == nullptr ? "" : "rule '" + rule->pattern + "'";
    if (asked == Precision::kInt8) {
      Constant filters = FiltersOf(graph_, linear);
      const std::string why = GiveCodes(graph_, options_, filters);
      filters.decision.reason = reason;
      if (why.empty()) return filters;
      linear.decision.reason += ", " + why;
    } else if (asked == Precision::kHalf) {
      const Constant filters = FiltersOf(graph_, linear);
      linear.n = filters.n;
      linear.k = filters.k;
      HalveFloats(graph_, linear);
    }
    linear.decision.ruled = rule != nullptr && !rule->form.empty();
    linear.decision.asked = rule != nullptr && asked == Precision::kKeep;
    if (rule != nullptr) linear.decision.reason += ", " + reason;
    return std::nullopt;
  }

 private:
  const Graph& graph_;
  const PlanOptions& options_;
  const std::vector<NamePattern> include_;
  const std::vector<NamePattern> exclude_;
  const RuleList rules_;
};

}  // namespace

int64_t Constant::ElementOf(int64_t channel, int64_t weight) const {
  if (groups == 0) return channel * k + weight;
  const int64_t outputs = n / groups;
  const int64_t inputs = k / taps;
  const int64_t input = channel / outputs * inputs + weight / taps;
  return (input * outputs + channel % outputs) * taps + weight % taps;
}

bool Matches(const NamePattern& pattern, const Constant& filters) {
  if (filters.convolutions.empty()) return false;
  return pattern.Matches(filters.name) ||
         (!filters.node_name.empty() && pattern.Matches(filters.node_name));
}

void DecideConvolutions(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan) {
  const Graph& graph = execution.graph();
  const ConvolutionDecider decider(graph, options);
  std::set<ValueId> coded;
  for (Linear& linear : plan.linears) {
    if (!IsConvolution(graph, linear) || coded.contains(linear.stored)) continue;
    auto filters = decider.Decide(linear);
    if (!filters.has_value()) continue;
    coded.insert(filters->stored);
    plan.constants.push_back(*std::move(filters));
  }
  std::erase_if(plan.linears, [&](const Linear& linear) {
    return IsConvolution(graph, linear) && coded.contains(linear.stored);
  });
}

}  // namespace ptq
