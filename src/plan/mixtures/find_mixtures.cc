// Pairs gates, values and second products to experts, and experts to the choice that routes to
// them.
#include "mixtures/find_mixtures.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "mixtures/mixture_probe.h"

#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// Between two products of an expert, or a product and the choice.
constexpr size_t kMostNodes = 64;

/// The products of an expert, or of all whose matrices are in stacks; indices of linears.
struct Expert {
  int gate = -1;   ///< or both, above each other
  int value = -1;  ///< -1: in `gate`
  int down = -1;
  ValueId root = kNoValue;    ///< the activation that its tokens are rows of
  std::vector<ValueId> rows;  ///< what is on the way there
};

/// Moves rows of its first input.
bool MovesRows(const Node& node) {
  static const std::set<std::string> kTypes = {"Reshape", "Unsqueeze", "Squeeze", "Flatten",
                                               "Tile",    "Expand",    "Einsum",  "Transpose",
                                               "Gather",  "GatherND",  "Identity"};
  return kTypes.contains(node.op_type());
}

class MixtureFinder {
 public:
  MixtureFinder(const ExecutionPlan& execution, const std::vector<Linear>& linears)
      : execution_(execution), graph_(execution.graph()), linears_(linears) {
    for (size_t i = 0; i < linears.size(); ++i) {
      const bool usable = linears[i].decision.reason.empty() && !linears[i].IsExpert();
      if (usable) product_at_[linears[i].node] = int(i);
    }
  }

  std::vector<Mixture> Find() {
    std::map<int, std::vector<Expert>> experts;  // by the TopK that chooses them
    for (const auto& [node, index] : product_at_) {
      Expert expert;
      const int choice = FindExpert(index, expert);
      if (choice >= 0) experts[choice].push_back(std::move(expert));
    }
    std::vector<Mixture> found;
    for (const auto& [choice, all] : experts) {
      if (auto mixture = Assemble(choice, all)) found.push_back(std::move(*mixture));
    }
    return found;
  }

 private:
  [[nodiscard]] const Linear& linear(int index) const { return linears_[size_t(index)]; }
  [[nodiscard]] const Node& node(int index) const { return graph_.nodes()[size_t(index)]; }

  /// The products that a value is computed from by glue alone; empty when by anything else, too.
  [[nodiscard]] std::set<int> ProductsBehind(ValueId value) const {
    std::set<int> products;
    std::set<ValueId> seen = {value};
    std::vector<ValueId> open = {value};
    while (!open.empty()) {
      const ValueId id = open.back();
      open.pop_back();
      if (id == kNoValue || execution_.IsConstant(id)) continue;
      const int producer = graph_.value(id).producer;
      if (producer < 0 || seen.size() > kMostNodes) return {};
      if (const auto product = product_at_.find(producer); product != product_at_.end()) {
        products.insert(product->second);
        continue;
      }
      if (!IsMixtureGlue(node(producer))) return {};
      for (const ValueId input : graph_.inputs(producer)) {
        if (seen.insert(input).second) open.push_back(input);
      }
    }
    return products;
  }

  /// The choices that indices are computed from.
  void AddChoices(ValueId index, std::set<int>& choices) const {
    std::set<ValueId> seen = {index};
    std::vector<ValueId> open = {index};
    while (!open.empty() && seen.size() <= kMostNodes) {
      const ValueId id = open.back();
      open.pop_back();
      if (id == kNoValue || execution_.IsConstant(id)) continue;
      const int producer = graph_.value(id).producer;
      if (producer < 0) continue;
      const std::string& type = node(producer).op_type();
      if (type == "TopK") choices.insert(producer);
      if (type == "TopK" || type == "Shape" || !IsMixtureGlue(node(producer))) continue;
      for (const ValueId input : graph_.inputs(producer)) {
        if (seen.insert(input).second) open.push_back(input);
      }
    }
  }

  /// Follows an expert's tokens to where they come from; adds the choices that they depend on.
  void FollowRows(ValueId site, Expert& expert, std::set<int>& choices) const {
    expert.root = site;
    while (true) {
      expert.rows.push_back(expert.root);
      const int producer = graph_.value(expert.root).producer;
      if (producer < 0 || !MovesRows(node(producer))) return;
      const auto& inputs = graph_.inputs(producer);
      if (inputs.empty() || inputs[0] == kNoValue) return;
      const std::string& type = node(producer).op_type();
      if (type == "Gather" || type == "GatherND") AddChoices(inputs[1], choices);
      expert.root = inputs[0];
    }
  }

  /// The expert whose second product a linear is, and the node that chooses it; -1: none.
  [[nodiscard]] int FindExpert(int down, Expert& expert) const {
    const std::set<int> products = ProductsBehind(linear(down).site);
    if (products.empty() || products.size() > 2 || products.contains(down)) return -1;
    expert.down = down;
    expert.gate = *products.begin();
    if (products.size() == 2) expert.value = *products.rbegin();
    if (expert.value >= 0 && !IsActivated(expert.gate)) std::swap(expert.gate, expert.value);
    const Linear& first = linear(expert.gate);
    for (const int index : products) {
      const Linear& one = linear(index);
      const int64_t rows = expert.value < 0 ? one.n / 2 : one.n;
      if (one.site != first.site || !IsAlike(one, linear(down)) ||
          rows != linear(down).k * one.experts || linear(down).n != one.k * one.experts) {
        return -1;
      }
    }
    if (expert.value < 0 && first.gather < 0) return -1;
    std::set<int> choices;
    FollowRows(first.site, expert, choices);
    if (first.gather >= 0) AddChoices(graph_.inputs(first.gather)[1], choices);
    return choices.size() == 1 ? *choices.begin() : -1;
  }

  [[nodiscard]] bool IsAlike(const Linear& a, const Linear& b) const {
    return a.operand_type == b.operand_type && a.experts == b.experts &&
           (a.gather < 0) == (b.gather < 0) && a.bias == kNoValue && b.bias == kNoValue &&
           graph_.ScopeOf(a.node) == graph_.ScopeOf(b.node);
  }

  /// Whether the product is read by an activation, as a gate is.
  [[nodiscard]] bool IsActivated(int index) const {
    const auto& uses = graph_.value(graph_.outputs(linear(index).node)[0]).uses;
    return std::ranges::any_of(uses,
                               [&](const Use& use) { return node(use.node).op_type() != "Mul"; });
  }

  /// In front of Casts.
  [[nodiscard]] ValueId BehindCasts(ValueId id) const {
    while (true) {
      const int producer = graph_.value(id).producer;
      if (producer < 0) return id;
      const std::string& type = node(producer).op_type();
      if (type != "Cast" && type != "Identity") return id;
      id = graph_.inputs(producer)[0];
    }
  }

  /// The scores [T, experts] in front of a softmax that stands in front of the choice, if it does.
  [[nodiscard]] ValueId LogitsOf(int choice) const {
    const ValueId scores = BehindCasts(graph_.inputs(choice)[0]);
    const int producer = graph_.value(scores).producer;
    const bool softmax = producer >= 0 && node(producer).op_type() == "Softmax";
    return softmax ? BehindCasts(graph_.inputs(producer)[0]) : scores;
  }

  [[nodiscard]] const Linear* RouterOf(ValueId logits) const {
    const int producer = graph_.value(logits).producer;
    for (const auto& [index, router] : product_at_) {
      const Linear& one = linear(router);
      if (one.gather < 0 && (one.node == producer || one.bias_add.node == producer)) return &one;
    }
    return nullptr;
  }

  [[nodiscard]] std::optional<Mixture> Assemble(int choice, const std::vector<Expert>& all) const {
    const Expert& first = all.front();
    const Linear& example = linear(first.gate);
    Mixture mixture;
    mixture.logits = LogitsOf(choice);
    mixture.gathered = example.gather >= 0;
    mixture.experts = mixture.gathered ? example.experts : int64_t(all.size());
    if (mixture.gathered && all.size() != 1) return std::nullopt;
    const Linear* const router = RouterOf(mixture.logits);
    const auto& inputs = graph_.inputs(choice);
    if (router == nullptr || router->n != mixture.experts || inputs.size() < 2 ||
        router->operand_type != example.operand_type ||
        (example.operand_type != DType::kFloat32 && example.operand_type != DType::kFloat16)) {
      return std::nullopt;
    }
    const auto chosen = ConstantIntegers(graph_, inputs[1]);
    if (!chosen || chosen->size() != 1) return std::nullopt;
    mixture.chosen = chosen->front();
    if (mixture.chosen < 1 || mixture.chosen > mixture.experts) return std::nullopt;
    for (size_t e = 0; e < all.size(); ++e) {
      if (all[e].root != first.root || !IsAlike(linear(all[e].gate), example)) return std::nullopt;
      AddMembers(all[e], int64_t(e), mixture);
    }
    mixture.name = CommonName(mixture);
    std::vector<ValueId> rows = {router->site};
    rows.insert(rows.end(), first.rows.rbegin(), first.rows.rend());
    return MixtureProbe(execution_, linears_, mixture, first.root)
        .Complete(rows, OutputsBehind(linear(all.back().down)));
  }

  static void AddMembers(const Expert& expert, int64_t number, Mixture& mixture) {
    const auto add = [&](int index, ExpertPart part) {
      mixture.members.emplace_back(index, ExpertPlace{-1, -1, number, part});
    };
    add(expert.gate, expert.value < 0 ? ExpertPart::kBoth : ExpertPart::kGate);
    if (expert.value >= 0) add(expert.value, ExpertPart::kValue);
    add(expert.down, ExpertPart::kDown);
  }

  /// The whole words that the names of all members begin with.
  [[nodiscard]] std::string CommonName(const Mixture& mixture) const {
    std::string name = linear(mixture.members.front().first).name;
    for (const auto& [index, place] : mixture.members) {
      const std::string& other = linear(index).name;
      const auto end = std::ranges::mismatch(name, other).in1;
      name.resize(size_t(end - name.begin()));
    }
    name.resize(std::min(name.find_last_of("./"), name.size()));
    return name.empty() ? "experts." + std::to_string(mixture.members.front().first) : name;
  }

  /// What the last product of a mixture goes into, in the order of the graph, as far as elements
  /// keep their type.
  [[nodiscard]] std::vector<ValueId> OutputsBehind(const Linear& last) const {
    std::vector<ValueId> outputs;
    std::set<int> open, seen;
    const auto follow = [&](ValueId id) {
      for (const Use& use : graph_.value(id).uses) {
        if (use.input >= 0 && graph_.ScopeOf(use.node) == graph_.ScopeOf(last.node) &&
            seen.insert(use.node).second)
          open.insert(use.node);
      }
    };
    follow(graph_.outputs(last.node)[0]);
    while (!open.empty() && seen.size() <= kMostNodes) {
      const int next = *open.begin();
      open.erase(open.begin());
      const std::string& type = node(next).op_type();
      const bool keeps_type = type != "Cast" || DType(node(next).Int("to", 0)) == last.operand_type;
      if (type == "Shape" || !keeps_type || !IsMixtureGlue(node(next))) continue;
      const ValueId output = graph_.outputs(next)[0];
      outputs.push_back(output);
      follow(output);
    }
    return outputs;
  }

  const ExecutionPlan& execution_;
  const Graph& graph_;
  const std::vector<Linear>& linears_;
  std::map<int, int> product_at_;  ///< linears that may be members, by node
};

}  // namespace

std::vector<Mixture> FindMixtures(const ExecutionPlan& execution,
                                  const std::vector<Linear>& linears) {
  return MixtureFinder(execution, linears).Find();
}

}  // namespace ptq
