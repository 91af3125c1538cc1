// Matches norms, gains, gated products and attention in front of a site.
#include "folds.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "attention_value.h"

namespace ptq {
namespace {

/// The quantized linears, by node, and the segments of their sites.
class QuantizedLinears {
 public:
  explicit QuantizedLinears(const Plan& plan) : segment_(plan.linears.size()) {
    for (const Site& site : plan.sites) {
      for (const int linear : site.linears) {
        by_node_.try_emplace(plan.linears[size_t(linear)].node, linear);
        segment_[size_t(linear)] = site.segment;
      }
    }
  }
  /// Index of the linear of a node, or -1.
  [[nodiscard]] int At(int node) const {
    const auto found = by_node_.find(node);
    return found == by_node_.end() ? -1 : found->second;
  }
  [[nodiscard]] size_t SegmentOf(int linear) const { return segment_[size_t(linear)]; }

 private:
  std::unordered_map<int, int> by_node_;
  std::vector<size_t> segment_;
};

class FoldFinder {
 public:
  FoldFinder(const Graph& graph, const Plan& plan, const QuantizedLinears& quantized,
             const Site& site)
      : graph_(graph), plan_(plan), quantized_(quantized), site_(site) {
    k_ = plan.linears[size_t(site.linears.front())].k;
  }

  [[nodiscard]] Fold Find() const {
    // Somebody else who reads the activation would see it scaled.
    if (graph_.Readers(site_.value) != site_.linears.size()) return {};
    if (graph_.value(site_.value).graph_output) return {};
    if (auto fold = FromNorm(site_.value)) return *fold;
    if (auto fold = FromLinear(site_.value)) return *fold;
    return {};
  }

 private:
  [[nodiscard]] bool IsGain(int node, size_t input) const { return IsVector(node, input, k_); }

  /// A constant [length] (any leading ones) at an input of a node.
  [[nodiscard]] bool IsVector(int node, size_t input, int64_t length) const {
    const auto& inputs = graph_.inputs(node);
    if (inputs.size() <= input || inputs[input] == kNoValue) return false;
    const Value& value = graph_.value(inputs[input]);
    if (value.constant == nullptr || !IsFloat(DType(value.constant->data_type()))) return false;
    int64_t size = 1;
    for (const int64_t dim : value.constant->dims()) size *= dim;
    return size == length && value.constant->dims_size() > 0 &&
           value.constant->dims(value.constant->dims_size() - 1) == length;
  }

  /// Which of the two inputs is a constant.
  [[nodiscard]] std::optional<size_t> ConstantInput(int node) const {
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const ValueId id = graph_.inputs(node)[i];
      if (id != kNoValue && graph_.value(id).constant != nullptr) return i;
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<size_t> GainInput(int node) const {
    for (const size_t i : {size_t{0}, size_t{1}}) {
      if (IsGain(node, i)) return i;
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<Fold> FromNorm(ValueId id) const {
    const int producer = graph_.value(id).producer;
    if (producer < 0) return std::nullopt;
    const Node& node = graph_.nodes()[size_t(producer)];
    const std::string& type = node.op_type();
    Fold fold;
    fold.kind = Fold::Kind::kGain;
    if (type == "LayerNormalization" || type == "RMSNormalization" ||
        type == "SimplifiedLayerNormalization") {
      if (node.Int("axis", -1) != -1 || !IsGain(producer, 1)) return std::nullopt;
      fold.gains.push_back({producer, 1});
      if (node.has_input(2)) {
        if (!IsGain(producer, 2)) return std::nullopt;
        fold.gains.push_back({producer, 2});
      }
      return fold;
    }
    if (type == "SkipLayerNormalization" || type == "SkipSimplifiedLayerNormalization") {
      if (graph_.outputs(producer)[0] != id || !IsGain(producer, 2)) return std::nullopt;
      fold.gains.push_back({producer, 2});
      const bool beta = type == "SkipLayerNormalization" && node.has_input(3);
      if (beta && !IsGain(producer, 3)) return std::nullopt;
      if (beta) fold.gains.push_back({producer, 3});
      return fold;
    }
    if (type == "Mul") {  // gain · normalised
      const auto gain = GainInput(producer);
      if (!gain.has_value()) return std::nullopt;
      fold.gains.push_back({producer, int(*gain)});
      return fold;
    }
    if (type == "Add") {  // gain · normalised + bias
      const auto bias = GainInput(producer);
      if (!bias.has_value()) return std::nullopt;
      const ValueId inner = graph_.inputs(producer)[1 - *bias];
      if (inner == kNoValue || !graph_.HasOneReader(inner)) return std::nullopt;
      const int mul = graph_.value(inner).producer;
      if (mul < 0 || graph_.nodes()[size_t(mul)].op_type() != "Mul") return std::nullopt;
      const auto gain = GainInput(mul);
      if (!gain.has_value()) return std::nullopt;
      fold.gains = {{mul, int(*gain)}, {producer, int(*bias)}};
      return fold;
    }
    return std::nullopt;
  }

  /// x = up(h) · act(gate(h)): the rows of `up`, whose quantized scales take the factor exactly.
  /// The same through a bias Add, for a bare linear, behind a ReLU, and for the values of an
  /// attention.
  [[nodiscard]] std::optional<Fold> FromLinear(ValueId id) const {
    if (auto fold = RowsOf(id)) return fold;
    if (const auto attention = FindAttentionValue(graph_, id, k_)) {
      return graph_.HasOneReader(attention->value) ? RowsOf(attention->value, attention->head_size)
                                                   : std::nullopt;
    }
    const int producer = graph_.value(id).producer;
    if (producer < 0) return std::nullopt;
    const Node& node = graph_.nodes()[size_t(producer)];
    if (node.domain().empty() && (node.op_type() == "Relu" || node.op_type() == "LeakyRelu")) {
      const ValueId inner = graph_.inputs(producer)[0];  // a positive factor passes through
      return graph_.HasOneReader(inner) ? RowsOf(inner) : std::nullopt;
    }
    if (node.op_type() != "Mul") return std::nullopt;
    for (const size_t i : {size_t{1}, size_t{0}}) {
      const ValueId factor = graph_.inputs(producer)[i];
      const ValueId other = graph_.inputs(producer)[1 - i];
      if (factor == kNoValue || factor == other || !graph_.HasOneReader(factor)) continue;
      if (auto fold = RowsOf(factor)) return fold;
    }
    return std::nullopt;
  }

  /// With a head size D, each head of the linear's rows may serve several heads of the channels.
  [[nodiscard]] std::optional<Fold> RowsOf(ValueId id, int64_t head_size = 0) const {
    int producer = graph_.value(id).producer;
    if (producer < 0) return std::nullopt;
    Fold fold;
    fold.kind = Fold::Kind::kLinearRows;
    if (graph_.nodes()[size_t(producer)].op_type() == "Add") {
      const auto bias = ConstantInput(producer);
      if (!bias.has_value()) return std::nullopt;
      const ValueId inner = graph_.inputs(producer)[1 - *bias];
      if (inner == kNoValue || !graph_.HasOneReader(inner)) return std::nullopt;
      fold.bias = {producer, int(*bias)};
      producer = graph_.value(inner).producer;
      if (producer < 0) return std::nullopt;
    }
    fold.linear = quantized_.At(producer);
    // Earlier codes are written already.
    if (fold.linear < 0 || quantized_.SegmentOf(fold.linear) != site_.segment) return std::nullopt;
    const Linear& linear = plan_.linears[size_t(fold.linear)];
    if (linear.reused || linear.decision.known) return std::nullopt;
    if (head_size > 0 ? k_ % linear.n != 0 || linear.n % head_size != 0 : linear.n != k_) {
      return std::nullopt;
    }
    if (fold.bias.node >= 0 && !IsVector(fold.bias.node, size_t(fold.bias.input), linear.n)) {
      return std::nullopt;
    }
    if (linear.bias != kNoValue) {
      if (fold.bias.node >= 0) return std::nullopt;  // a Fold divides one bias, not two
      fold.bias = {producer, 2};
    }
    fold.row_of_channel.resize(size_t(k_));
    const int64_t d = std::max<int64_t>(head_size, 1);
    for (int64_t c = 0; c < k_; ++c) {
      fold.row_of_channel[size_t(c)] = c / d / (k_ / linear.n) * d + c % d;
    }
    return fold;
  }

  const Graph& graph_;
  const Plan& plan_;
  const QuantizedLinears& quantized_;
  const Site& site_;
  int64_t k_ = 0;
};

}  // namespace

void FindFolds(const ExecutionPlan& execution, Plan& plan) {
  const QuantizedLinears quantized(plan);
  for (Site& site : plan.sites) {
    site.fold = FoldFinder(execution.graph(), plan, quantized, site).Find();
  }
}

}  // namespace ptq
