#include "find_linears.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "ptq/plan/names.h"

namespace ptq {
namespace {

bool IsPassThrough(const Node& node) {
  static const std::set<std::string> kTypes = {"Transpose", "Cast",    "Identity",
                                               "Reshape",   "Squeeze", "DequantizeLinear"};
  return kTypes.contains(node.op_type());
}

/// The stored constant behind an operand, through nodes that only move or convert it.
ValueId StoredBehind(const Graph& graph, ValueId id) {
  while (graph.value(id).constant == nullptr) {
    const int producer = graph.value(id).producer;
    if (producer < 0 || !IsPassThrough(graph.nodes()[size_t(producer)])) return kNoValue;
    const auto& inputs = graph.inputs(producer);
    if (inputs.empty() || inputs[0] == kNoValue) return kNoValue;
    id = inputs[0];
  }
  return id;
}

/// Shape and element type of a constant operand, followed through the pass-through nodes.
struct Layout {
  Shape shape;
  DType dtype;
};

std::optional<Layout> LayoutOf(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  if (value.constant != nullptr) {
    return Layout{{value.constant->dims().begin(), value.constant->dims().end()},
                  static_cast<DType>(value.constant->data_type())};
  }
  const int producer = value.producer;
  const Node& node = graph.nodes()[size_t(producer)];
  auto layout = LayoutOf(graph, graph.inputs(producer)[0]);
  if (!layout.has_value()) return layout;
  if (node.op_type() == "Transpose") {
    const auto perm = node.Ints("perm");
    const Shape from = layout->shape;
    const auto rank = int64_t(from.size());
    const auto valid = [&](int64_t axis) { return axis >= 0 && axis < rank; };
    if (!perm.empty() && (int64_t(perm.size()) != rank || !std::ranges::all_of(perm, valid))) {
      return std::nullopt;
    }
    for (size_t i = 0; i < from.size(); ++i) {
      layout->shape[i] = perm.empty() ? from[from.size() - 1 - i] : from[size_t(perm[i])];
    }
  } else if (node.op_type() == "Cast") {
    layout->dtype = static_cast<DType>(node.Int("to", 1));
  } else if (node.op_type() == "DequantizeLinear") {
    const auto& inputs = graph.inputs(producer);
    if (inputs.size() < 2 || StoredBehind(graph, inputs[1]) == kNoValue) return std::nullopt;
    const auto scale = LayoutOf(graph, inputs[1]);
    layout->dtype = scale.has_value() ? scale->dtype : DType::kFloat32;
  } else if (node.op_type() == "Reshape") {
    const auto& inputs = graph.inputs(producer);
    if (inputs.size() < 2 || inputs[1] == kNoValue) return std::nullopt;
    const Value& target = graph.value(inputs[1]);
    if (target.constant == nullptr) return std::nullopt;
    const auto dims = graph.model().weights().Read(*target.constant).ToInt64s();
    const int64_t total = NumElements(layout->shape);
    Shape shape;
    int64_t known = 1;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] == 0 && i >= layout->shape.size()) return std::nullopt;
      shape.push_back(dims[i] == 0 ? layout->shape[i] : dims[i]);
      if (shape.back() > 0) known *= shape.back();
    }
    for (int64_t& dim : shape) {
      if (dim < 0) dim = total / known;
    }
    layout->shape = shape;
  } else if (node.op_type() != "Identity") {
    return std::nullopt;
  }
  return layout;
}

class Finder {
 public:
  explicit Finder(const ExecutionPlan& execution)
      : execution_(execution), graph_(execution.graph()) {}

  std::vector<Linear> Find() {
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      if (execution_.steps()[i].constant) continue;
      const Node& node = graph_.nodes()[i];
      const std::string& type = node.op_type();
      if (type == "MatMul" || type == "FusedMatMul" || type == "Gemm") {
        Consider(int(i));
      } else if (type == "If" || type == "Loop" || type == "Scan") {
        ConsiderSubgraphs(int(i));
      } else if (type == "Attention" && node.domain() == "com.microsoft") {
        ConsiderOther(int(i), 1, "packed weight of an Attention node; not supported yet");
      } else if (type == "MatMulNBits" || type == "MatMulBnb4" || type == "MatMulInteger" ||
                 type == "DynamicQuantizeMatMul" || type == "QAttention") {
        ConsiderOther(int(i), 1, "quantized already");
      } else if (type == "MoE" || type == "QMoE") {
        ConsiderOther(int(i), 2, "weights of several experts in one node; not supported yet");
      } else if (type == "Conv" || type == "ConvTranspose") {
        ConsiderOther(int(i), 1, "convolution");
      }
    }
    MakeNamesUnique();
    MarkShared();
    return std::move(linears_);
  }

 private:
  void Consider(int index) {
    const Node& node = graph_.nodes()[size_t(index)];
    const auto& inputs = graph_.inputs(index);
    if (inputs.size() < 2 || inputs[0] == kNoValue || inputs[1] == kNoValue) return;
    const bool left = execution_.IsConstant(inputs[0]);
    if (!left && !execution_.IsConstant(inputs[1])) return;
    Linear linear;
    linear.node = index;
    linear.site = inputs[left ? 1 : 0];
    linear.operand = inputs[left ? 0 : 1];
    linear.stored = StoredBehind(graph_, linear.operand);
    const auto layout = linear.stored == kNoValue ? std::nullopt : LayoutOf(graph_, linear.operand);
    if (!layout.has_value()) {
      if (LooksLikeTable(linear.operand)) return;
      Keep(linear, "the weight is computed in the graph by operators that cannot be undone");
      return;
    }
    // Rotary tables and masks are products with vectors, not layers.
    if (layout->shape.size() < 2 || NumElements(layout->shape) <= layout->shape.back() ||
        (layout->shape.size() > 2 && left)) {
      return;
    }
    const bool transposed = node.Int("transB", 0) != 0;
    linear.operand_is_nk = transposed;
    const int64_t rows = layout->shape[layout->shape.size() - 2];
    const int64_t cols = layout->shape.back();
    linear.k = transposed ? cols : rows;
    linear.n = transposed ? rows : cols;
    linear.operand_type = layout->dtype;
    linear.stored_type = static_cast<DType>(graph_.value(linear.stored).constant->data_type());
    const std::string why = Obstacle(node, linear, *layout, left);
    if (!why.empty()) {
      Keep(linear, why);
      return;
    }
    if (node.op_type() == "Gemm" && inputs.size() > 2 && inputs[2] != kNoValue) {
      linear.bias = inputs[2];
    }
    Add(std::move(linear));
  }

  /// Why a product cannot be quantized; empty when it can.
  [[nodiscard]] std::string Obstacle(const Node& node, const Linear& linear, const Layout& layout,
                                     bool left) const {
    if (left) return "the weight is the left operand; not supported yet";
    if (layout.shape.size() > 2)
      return "the weight has more than two dimensions; not supported yet";
    if (!IsFloat(linear.operand_type)) return "the weight is not a float matrix";
    if (linear.operand_type == DType::kFloat64) return "the runtime has no float64 kernel";
    if (node.Int("transA", 0) != 0) return "the activation is transposed (transA)";
    if (node.Float("alpha", 1.0f) != 1.0f) return "the product is scaled (alpha)";
    if (node.Int("transBatchA", 0) != 0 || node.Int("transBatchB", 0) != 0) {
      return "the batch dimensions are transposed";
    }
    const auto& inputs = graph_.inputs(linear.node);
    if (node.op_type() == "Gemm" && inputs.size() > 2 && inputs[2] != kNoValue) {
      if (node.Float("beta", 1.0f) != 1.0f) return "the bias is scaled (beta)";
      if (!execution_.IsConstant(inputs[2])) return "the bias is not constant";
      const auto bias = LayoutOf(graph_, inputs[2]);
      if (!bias.has_value() || bias->shape != Shape{linear.n}) return "the bias is not [N]";
    }
    return "";
  }

  /// Constants computed from shapes or small tables (rotary frequencies) are no weights.
  [[nodiscard]] bool LooksLikeTable(ValueId id) const {
    const int producer = graph_.value(id).producer;
    if (producer < 0) return false;
    return !IsPassThrough(graph_.nodes()[size_t(producer)]);
  }

  void ConsiderOther(int index, size_t input, const std::string& reason) {
    const auto& inputs = graph_.inputs(index);
    if (inputs.size() <= input || inputs[input] == kNoValue) return;
    if (!execution_.IsConstant(inputs[input])) return;
    Linear linear;
    linear.node = index;
    linear.site = inputs[0];
    linear.operand = inputs[input];
    linear.stored = StoredBehind(graph_, linear.operand);
    if (linear.stored == kNoValue) return;
    Keep(linear, reason);
  }

  void ConsiderSubgraphs(int index) {
    if (graph_.inputs(index).empty()) return;
    for (const ValueId id : graph_.captures(index)) {
      if (!execution_.IsConstant(id)) continue;
      const auto layout = LayoutOf(graph_, id);
      if (!layout.has_value() || layout->shape.size() != 2 || !IsFloat(layout->dtype)) continue;
      if (layout->shape[0] < 2 || layout->shape[1] < 2) continue;
      Linear linear;
      linear.node = index;
      linear.site = graph_.inputs(index)[0];
      linear.operand = id;
      linear.stored = id;
      linear.k = layout->shape[0];
      linear.n = layout->shape[1];
      Keep(linear, "used inside a branch of " + graph_.nodes()[size_t(index)].op_type() +
                       "; linears in subgraphs are not supported yet");
    }
  }

  void Keep(Linear linear, const std::string& reason) {
    linear.decision = Decision::kKeep;
    linear.reason = reason;
    Add(std::move(linear));
  }

  void Add(Linear linear) {
    const ValueId known = linear.stored != kNoValue ? linear.stored : linear.operand;
    linear.name = LinearName(graph_, linear.node, known);
    linears_.push_back(std::move(linear));
  }

  void MakeNamesUnique() {
    std::map<std::string, int> seen;
    for (Linear& linear : linears_) {
      const int count = ++seen[linear.name];
      if (count > 1) linear.name += "#" + std::to_string(count);
    }
  }

  /// Counts the users of each stored weight, chains of Identity and their like included.
  void MarkShared() {
    std::map<ValueId, int> users;
    for (const Linear& linear : linears_) {
      if (linear.stored != kNoValue && !users.contains(linear.stored)) {
        users[linear.stored] = CountUsers(linear.stored);
      }
    }
    for (Linear& linear : linears_) {
      linear.shared = linear.stored != kNoValue && users[linear.stored] > 1;
    }
  }

  [[nodiscard]] int CountUsers(ValueId id) const {
    int count = graph_.value(id).graph_output ? 1 : 0;
    for (const Use& use : graph_.value(id).uses) {
      const Node& node = graph_.nodes()[size_t(use.node)];
      const bool moves = use.input == 0 && IsPassThrough(node);
      count += moves ? CountUsers(graph_.outputs(use.node)[0]) : 1;
    }
    return count;
  }

  const ExecutionPlan& execution_;
  const Graph& graph_;
  std::vector<Linear> linears_;
};

}  // namespace

std::vector<Linear> FindLinears(const ExecutionPlan& execution) { return Finder(execution).Find(); }

}  // namespace ptq
