// Walks back through fused attention operators and the ways in which exporters spell one out.
#include "attention_value.h"

#include <algorithm>
#include <string_view>

namespace ptq {
namespace {

const std::vector<int64_t> kSwapHeadsAndTokens = {0, 2, 1, 3};

class Walker {
 public:
  explicit Walker(const Graph& graph) : graph_(graph) {}

  [[nodiscard]] std::optional<AttentionValue> Find(ValueId result, int64_t k) const {
    if (const int producer = ProducerOf(result); producer >= 0) {
      if (IsFused(producer)) return ThroughFused(producer, k);
      const bool product = graph_.nodes()[size_t(producer)].op_type() == "MatMul";
      if (product) return AttentionValue{graph_.inputs(producer)[1], 0};  // of a single head
    }
    const ValueId swapped = Back(result, "Reshape");
    const ValueId heads = BackSwap(swapped);
    if (heads == kNoValue) return std::nullopt;
    const int core = ProducerOf(heads);
    if (core < 0) return std::nullopt;
    const std::string& type = graph_.nodes()[size_t(core)].op_type();
    if (type == "MatMul") return ThroughHeads(graph_.inputs(core)[1]);
    if (type == "Attention" && IsFused(core)) return ThroughHeads(graph_.inputs(core)[2]);
    return std::nullopt;
  }

 private:
  /// The producer, when this is the only reader of the value (but for its shape).
  [[nodiscard]] int ProducerOf(ValueId id) const {
    if (id == kNoValue) return -1;
    return graph_.HasOneReader(id) ? graph_.value(id).producer : -1;
  }

  /// Input 0 of the value's producer, when that is of the type.
  [[nodiscard]] ValueId Back(ValueId id, std::string_view type) const {
    const int node = ProducerOf(id);
    if (node < 0 || graph_.nodes()[size_t(node)].op_type() != type) return kNoValue;
    return graph_.inputs(node)[0];
  }

  [[nodiscard]] ValueId BackSwap(ValueId id) const {
    const ValueId before = Back(id, "Transpose");
    if (before == kNoValue) return kNoValue;
    const Node& node = graph_.nodes()[size_t(graph_.value(id).producer)];
    return node.Ints("perm") == kSwapHeadsAndTokens ? before : kNoValue;
  }

  /// One operator without a cache and without a bias of its own.
  [[nodiscard]] bool IsFused(int index) const {
    const Node& node = graph_.nodes()[size_t(index)];
    const std::string& type = node.op_type();
    const auto given = [&](std::initializer_list<int> inputs) {
      return std::ranges::any_of(inputs, [&](int i) { return node.has_input(i); });
    };
    if (node.output_count() > 1) return false;
    if (type == "Attention") return node.domain().empty() && !given({4, 5});
    if (type == "MultiHeadAttention") return given({2}) && !given({3, 6, 7});
    return type == "GroupQueryAttention" && given({2}) && !given({3, 4});
  }

  /// Values [B, T, N]: the number of heads is an attribute.
  [[nodiscard]] std::optional<AttentionValue> ThroughFused(int index, int64_t k) const {
    const Node& node = graph_.nodes()[size_t(index)];
    const bool onnx = node.op_type() == "Attention";
    const int64_t heads = node.Int(onnx ? "q_num_heads" : "num_heads", 0);
    const int64_t value_heads = node.Int("kv_num_heads", heads);
    if (heads <= 0 || k % heads != 0) return std::nullopt;
    return AttentionValue{graph_.inputs(index)[2], heads == value_heads ? 0 : k / heads};
  }

  /// Values [B, heads, T, D] as products read them.
  [[nodiscard]] std::optional<AttentionValue> ThroughHeads(ValueId id) const {
    const ValueId expanded = Back(id, "Reshape");
    if (expanded != kNoValue) {
      const ValueId unsqueezed = Back(expanded, "Expand");
      id = Back(unsqueezed, "Unsqueeze");
      if (id == kNoValue || !InsertsAxis2(unsqueezed)) return std::nullopt;
    }
    const ValueId tokens = BackSwap(id);
    const ValueId value = Back(tokens, "Reshape");
    if (value == kNoValue) return std::nullopt;
    if (expanded == kNoValue) return AttentionValue{value, 0};
    const int64_t head_size = LastDim(graph_.inputs(graph_.value(tokens).producer)[1]);
    if (head_size <= 0) return std::nullopt;
    return AttentionValue{value, head_size};
  }

  [[nodiscard]] bool InsertsAxis2(ValueId id) const {
    const int index = graph_.value(id).producer;
    const Node& node = graph_.nodes()[size_t(index)];
    if (node.has_input(1)) return Constant(graph_.inputs(index)[1]) == std::vector<int64_t>{2};
    return node.Ints("axes") == std::vector<int64_t>{2};
  }

  [[nodiscard]] std::vector<int64_t> Constant(ValueId id) const {
    const StoredTensor* proto = id == kNoValue ? nullptr : graph_.value(id).constant;
    if (proto == nullptr || DType(proto->data_type()) != DType::kInt64) return {};
    const Tensor tensor = graph_.model().weights().Read(*proto);
    const auto values = tensor.data<int64_t>();
    return {values.begin(), values.end()};
  }

  /// The last number of the shape that a Reshape to four dimensions is given; 0: not known.
  [[nodiscard]] int64_t LastDim(ValueId shape) const {
    if (const std::vector<int64_t> dims = Constant(shape); dims.size() == 4) return dims[3];
    const int producer = shape == kNoValue ? -1 : graph_.value(shape).producer;
    if (producer < 0 || graph_.nodes()[size_t(producer)].op_type() != "Concat") return 0;
    const std::vector<int64_t> last = Constant(graph_.inputs(producer).back());
    return graph_.inputs(producer).size() == 4 && last.size() == 1 ? last[0] : 0;
  }

  const Graph& graph_;
};

}  // namespace

std::optional<AttentionValue> FindAttentionValue(const Graph& graph, ValueId result, int64_t k) {
  return Walker(graph).Find(result, k);
}

}  // namespace ptq
