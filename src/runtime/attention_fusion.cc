// Matches what stands between two products around a Softmax, and makes a kernel of it.
#include "attention_fusion.h"

#include <algorithm>
#include <map>
#include <optional>

#include "ptq/ops/plain_attention.h"

namespace ptq {
namespace {

/// Steps between the products that are followed back; real graphs have four at most.
constexpr int kLongestChain = 8;

/// Matches one attention around its softmax; members fill as it goes.
class Matcher {
 public:
  Matcher(const Graph& graph, const std::vector<bool>& constant, int softmax)
      : graph_(graph), constant_(constant), softmax_(softmax) {}

  /// The node of the last product, or -1.
  int Match() {
    const Node& softmax = node(softmax_);
    attention_.softmax_axis = softmax.Int("axis", softmax.opset() >= 13 ? -1 : 1);
    if (!MatchProbabilities() || !MatchScores(graph_.inputs(softmax_)[0], 0)) return -1;
    nodes_.push_back(softmax_);
    std::ranges::sort(nodes_);
    if (nodes_.back() != product_) return -1;
    const int scope = graph_.ScopeOf(product_);
    const auto elsewhere = [&](int index) { return graph_.ScopeOf(index) != scope; };
    if (std::ranges::any_of(nodes_, elsewhere)) return -1;
    return product_;
  }

  /// What the last product reads now; and its kernel.
  [[nodiscard]] std::vector<ValueId> inputs() const { return inputs_; }
  /// The nodes that are matched.
  [[nodiscard]] const std::vector<int>& nodes() const { return nodes_; }
  [[nodiscard]] std::unique_ptr<Kernel> MakeKernel() const {
    std::map<ValueId, int> slots;
    for (size_t i = 0; i < inputs_.size(); ++i) slots[inputs_[i]] = int(i);
    std::vector<AttentionPart> parts;
    for (const int index : nodes_) {
      AttentionPart part{&node(index), {}};
      for (const ValueId id : graph_.inputs(index)) {
        part.inputs.push_back(id == kNoValue ? -1 : slots.at(id));
      }
      slots[graph_.outputs(index)[0]] = int(inputs_.size() + parts.size());
      parts.push_back(std::move(part));
    }
    return MakePlainAttention(attention_, inputs_.size(), parts);
  }

 private:
  [[nodiscard]] const Node& node(int index) const { return graph_.nodes()[size_t(index)]; }
  [[nodiscard]] bool Is(int index, const char* type) const {
    return index >= 0 && node(index).op_type() == type && node(index).domain().empty();
  }
  [[nodiscard]] bool Casts(int index, DType to) const {
    return Is(index, "Cast") && node(index).Int("to", 0) == int64_t(to);
  }
  /// The only node that reads a value, or -1.
  [[nodiscard]] int OnlyReader(ValueId id) const {
    const Value& value = graph_.value(id);
    const bool only = value.uses.size() == 1 && !value.graph_output && value.uses[0].input >= 0;
    return only ? value.uses[0].node : -1;
  }
  int External(ValueId id) {
    const auto found = std::ranges::find(inputs_, id);
    if (found != inputs_.end()) return int(found - inputs_.begin());
    inputs_.push_back(id);
    return int(inputs_.size()) - 1;
  }

  /// From the softmax to the product with the values.
  bool MatchProbabilities() {
    ValueId at = graph_.outputs(softmax_)[0];
    if (graph_.value(at).uses.size() == 2 && !MatchGuard(at)) return false;
    int reader = OnlyReader(at);
    while (Is(reader, "Cast")) {
      if (Casts(reader, DType::kFloat16)) {
        attention_.half_probabilities = true;
      } else if (!Casts(reader, DType::kFloat32)) {
        return false;
      }
      nodes_.push_back(reader);
      at = graph_.outputs(reader)[0];
      reader = OnlyReader(at);
    }
    if (!Is(reader, "MatMul") || graph_.inputs(reader)[0] != at) return false;
    if (constant_[size_t(graph_.inputs(reader)[1])]) return false;
    product_ = reader;
    nodes_.push_back(reader);
    attention_.v = External(graph_.inputs(reader)[1]);
    return true;
  }

  /// Where(IsNaN(p), 0, p), which makes rows without keys zeros.
  bool MatchGuard(ValueId& at) {
    const Value& value = graph_.value(at);
    for (const Use& use : value.uses) {
      const int other = value.uses[0].node == use.node ? value.uses[1].node : value.uses[0].node;
      if (!Is(use.node, "IsNaN") || !Is(other, "Where") || value.graph_output) continue;
      const auto& inputs = graph_.inputs(other);
      const ValueId is_nan = graph_.outputs(use.node)[0];
      if (OnlyReader(is_nan) != other || inputs[0] != is_nan || inputs[2] != at) return false;
      // What is filled in is 0 in every exporter's graph; another number is not worth a form.
      if (!IsZero(inputs[1])) return false;
      (void)External(inputs[1]);
      attention_.guarded = true;
      nodes_.insert(nodes_.end(), {use.node, other});
      at = graph_.outputs(other)[0];
      return true;
    }
    return false;
  }

  [[nodiscard]] bool IsZero(ValueId id) const {
    const StoredTensor* constant = graph_.value(id).constant;
    if (constant == nullptr || constant->ByteSizeLong() > 256) return false;
    const Tensor value = graph_.model().weights().Read(*constant);
    return value.size() == 1 && IsFloat(value.dtype()) && value.ToFloat32().data<float>()[0] == 0;
  }

  /// Back from the softmax to the product of queries and keys.
  bool MatchScores(ValueId at, int depth) {
    const int producer = graph_.value(at).producer;
    if (producer < 0 || depth > kLongestChain || OnlyReader(at) < 0) return false;
    const auto& inputs = graph_.inputs(producer);
    using Kind = ScoreStep::Kind;
    if (Is(producer, "MatMul")) return MatchProduct(producer);
    if (Casts(producer, DType::kFloat32)) return Through(producer, inputs[0], depth);
    if (Is(producer, "Where")) return Through(producer, inputs[1], depth, Kind::kWhere, inputs[0]);
    if (Is(producer, "Div")) return Through(producer, inputs[0], depth, Kind::kDiv, inputs[1]);
    if (!Is(producer, "Add") && !Is(producer, "Mul")) return false;
    const Kind kind = Is(producer, "Add") ? Kind::kAdd : Kind::kMul;
    return Through(producer, inputs[0], depth, kind, inputs[1]) ||
           Through(producer, inputs[1], depth, kind, inputs[0]);
  }

  bool Through(int index, ValueId from, int depth) {
    if (!MatchScores(from, depth + 1)) return false;
    nodes_.push_back(index);
    return true;
  }

  bool Through(int index, ValueId from, int depth, ScoreStep::Kind kind, ValueId operand) {
    if (!Through(index, from, depth)) return false;
    ScoreStep step{kind, External(operand)};
    if (kind == ScoreStep::Kind::kWhere) step.fill = External(graph_.inputs(index)[2]);
    attention_.steps.push_back(step);
    return true;
  }

  bool MatchProduct(int index) {
    for (const ValueId id : graph_.inputs(index)) {
      if (constant_[size_t(id)]) return false;
    }
    nodes_.push_back(index);
    attention_.q = External(graph_.inputs(index)[0]);
    ValueId keys = graph_.inputs(index)[1];
    const int producer = graph_.value(keys).producer;
    if (Is(producer, "Transpose") && OnlyReader(keys) == index) {
      std::vector<int64_t> perm = node(producer).Ints("perm");
      if (perm.size() >= 3) {
        std::swap(perm[perm.size() - 2], perm[perm.size() - 1]);
        attention_.keys_by_row = std::ranges::is_sorted(perm);
      }
    }
    if (attention_.keys_by_row) {
      nodes_.push_back(producer);
      keys = graph_.inputs(producer)[0];
    }
    attention_.k = External(keys);
    return true;
  }

  const Graph& graph_;
  const std::vector<bool>& constant_;
  const int softmax_;
  int product_ = -1;
  PlainAttention attention_;
  std::vector<ValueId> inputs_;
  std::vector<int> nodes_;
};

}  // namespace

void FuseAttention(const Graph& graph, const std::vector<bool>& constant,
                   std::vector<Step>& steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (node.op_type() != "Softmax" || !node.domain().empty()) continue;
    Matcher matcher(graph, constant, int(i));
    const int product = matcher.Match();
    if (product < 0) continue;
    const auto runs = [&](int index) { return steps[size_t(index)].kernel != nullptr; };
    if (!std::ranges::all_of(matcher.nodes(), runs)) continue;
    steps[size_t(product)].kernel = matcher.MakeKernel();
    steps[size_t(product)].inputs = matcher.inputs();
  }
}

}  // namespace ptq
