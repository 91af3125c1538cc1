// Looks at every node that may hold a weight, says why one is not taken, and names them apart.
#include "find_linears.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "ptq/model/constant_view.h"
#include "ptq/plan/names.h"

namespace ptq {
namespace {

class Finder {
 public:
  explicit Finder(const ExecutionPlan& execution)
      : execution_(execution), graph_(execution.graph()) {
    const auto& forms = graph_.model().spelled_out();
    for (size_t i = 0; i < forms.size(); ++i) {
      for (const std::string& output : forms[i].outputs) form_of_[output] = int(i);
    }
  }

  std::vector<Linear> Find() {
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      const Node& node = graph_.nodes()[i];
      const std::string& type = node.op_type();
      const bool product = type == "MatMul" || type == "FusedMatMul" || type == "Gemm";
      if (execution_.steps()[i].constant) {
        if (product) ConsiderConstants(int(i));
      } else if (product && execution_.CanRun(int(i))) {
        Consider(int(i));
      } else if (product) {
        ConsiderOther(int(i), 1, "a form of the operator that is not known here");
      } else if (type == "Attention" && node.domain() == "com.microsoft") {
        ConsiderOther(int(i), 1, "packed weight of an Attention node; not supported yet");
      } else if (type == "MatMulNBits" || type == "MatMulBnb4" || type == "MatMulInteger" ||
                 type == "DynamicQuantizeMatMul" || type == "QAttention") {
        ConsiderOther(int(i), 1, "quantized already");
      } else if (type == "QMoE") {
        ConsiderOther(int(i), 2, "quantized already");
      } else if (type == "MoE") {
        ConsiderOther(int(i), 2, "weights of several experts in one node; not supported yet");
      } else if (type == "Conv" || type == "ConvTranspose") {
        ConsiderOther(int(i), 1, "convolution");
      }
    }
    MakeNamesUnique();
    MarkShared();
    AttachConstantProducts();
    return std::move(linears_);
  }

 private:
  void Consider(int index) {
    const Node& node = graph_.nodes()[size_t(index)];
    const auto& inputs = graph_.inputs(index);
    if (inputs.size() < 2 || inputs[0] == kNoValue || inputs[1] == kNoValue) return;
    const bool left = execution_.IsConstant(inputs[0]);
    if (left && execution_.IsConstant(inputs[1])) return;
    if (!left && !execution_.IsConstant(inputs[1])) {
      ConsiderGathered(index);
      return;
    }
    Linear linear;
    linear.node = index;
    linear.site = inputs[left ? 1 : 0];
    linear.operand = inputs[left ? 0 : 1];
    const auto view = ViewConstant(graph_, linear.operand);
    if (!view.has_value()) {
      if (LooksLikeTable(linear.operand)) return;
      Keep(linear, "the weight is computed in the graph by operators that cannot be undone");
      return;
    }
    Describe(*view, linear);
    // Rotary tables and masks are products with vectors, not layers.
    if (view->shape.size() < 2 || NumElements(view->shape) <= view->shape.back() ||
        (view->shape.size() > 2 && left)) {
      return;
    }
    SetShape(node, *view, linear);
    const std::string why = Obstacle(node, linear, *view, left);
    if (!why.empty()) {
      Keep(linear, why);
      return;
    }
    if (node.op_type() == "Gemm" && inputs.size() > 2 && inputs[2] != kNoValue) {
      linear.bias = inputs[2];
    } else {
      linear.bias_add = FindBiasBehind(index, linear.n);
    }
    Add(std::move(linear));
  }

  static void SetShape(const Node& node, const ConstantView& view, Linear& linear) {
    const bool transposed = node.Int("transB", 0) != 0;
    linear.operand_is_nk = transposed;
    const int64_t rows = view.shape[view.shape.size() - 2];
    const int64_t cols = view.shape.back();
    linear.k = transposed ? cols : rows;
    linear.n = transposed ? rows : cols;
  }

  /// A product of constants, one of which may be the weight of a linear.
  void ConsiderConstants(int index) {
    const Node& node = graph_.nodes()[size_t(index)];
    const auto& inputs = graph_.inputs(index);
    if (inputs.size() < 2 || inputs[0] == kNoValue || inputs[1] == kNoValue) return;
    const auto view = ViewConstant(graph_, inputs[1]);
    if (!view.has_value() || view->shape.size() != 2) return;
    Linear linear;
    linear.node = index;
    linear.operand = inputs[1];
    Describe(*view, linear);
    SetShape(node, *view, linear);
    if (!Obstacle(node, linear, *view, /*left=*/false).empty()) return;
    if (node.op_type() == "Gemm" && inputs.size() > 2) linear.bias = inputs[2];
    constant_products_.push_back(std::move(linear));
  }

  /// Whether W[n, k] of both lies in the same places of the stored weight.
  [[nodiscard]] bool HaveSameElements(const Linear& a, const Linear& b) const {
    const auto placement = [&](const Linear& linear) {
      const auto view = ViewConstant(graph_, linear.operand);
      std::optional<Placement> found;
      if (!view || view->shape.size() != 2) return found;
      found = view->placement;
      if (found && !linear.operand_is_nk) std::swap(found->strides[0], found->strides[1]);
      return found;
    };
    const auto first = placement(a), second = placement(b);
    return first && second && first->offset == second->offset && first->strides == second->strides;
  }

  /// Gives each product of constants to the first linear with its weight.
  void AttachConstantProducts() {
    std::unordered_map<ValueId, std::vector<Linear*>> of_part;
    for (Linear& linear : linears_) {
      const bool quantized = linear.decision.reason.empty() && linear.gather < 0;
      if (quantized && !constant_products_.empty()) of_part[linear.part].push_back(&linear);
    }
    for (const Linear& product : constant_products_) {
      const std::vector<Linear*>& candidates = of_part[product.part];
      const auto owner = std::ranges::find_if(candidates, [&](const Linear* linear) {
        return linear->n == product.n && linear->k == product.k &&
               (linear->operand == product.operand || HaveSameElements(*linear, product));
      });
      if (owner == candidates.end()) continue;
      (*owner)->constant_products.push_back(
          {product.node, product.operand, product.operand_is_nk, product.bias});
    }
  }

  /// A product with matrices that are picked from a stack of weights for each token.
  void ConsiderGathered(int index) {
    const Node& node = graph_.nodes()[size_t(index)];
    const auto& inputs = graph_.inputs(index);
    if (node.op_type() != "MatMul") return;
    const auto found = FindGathered(graph_, inputs[1]);
    if (!found.has_value() || FindGathered(graph_, inputs[0]).has_value()) return;
    const ConstantView& view = found->view;
    if (!IsFloat(view.dtype) || view.dtype == DType::kFloat64) return;
    if (view.shape[1] < 2 || view.shape[2] < 2) return;
    Linear linear;
    linear.node = index;
    linear.site = inputs[0];
    linear.operand = found->stack;
    linear.gather = found->gather;
    linear.experts = view.shape[0];
    Describe(view, linear);
    linear.operand_is_nk = found->swapped;
    linear.k = view.shape[found->swapped ? 2 : 1];
    linear.n = view.shape[found->swapped ? 1 : 2] * linear.experts;
    Add(std::move(linear));
  }

  /// The constant [N] that the only reader of a product adds to it.
  [[nodiscard]] Use FindBiasBehind(int index, int64_t n) const {
    const ValueId output = graph_.outputs(index)[0];
    if (!graph_.HasOneReader(output)) return {-1, -1};
    const Use reader = graph_.value(output).uses.front();
    const std::string& type = graph_.nodes()[size_t(reader.node)].op_type();
    if (type != "Add" && type != "BiasGelu" && type != "FastGelu") return {-1, -1};
    if (graph_.inputs(reader.node).size() != 2) return {-1, -1};
    const Use bias{reader.node, 1 - reader.input};
    const ValueId id = graph_.inputs(bias.node)[size_t(bias.input)];
    const StoredTensor* const constant = graph_.value(id).constant;
    if (constant == nullptr || constant->dims_size() != 1 || constant->dims(0) != n) {
      return {-1, -1};
    }
    return bias;
  }

  void Describe(const ConstantView& view, Linear& linear) const {
    linear.stored = view.stored;
    linear.part = view.part;
    linear.operand_type = view.dtype;
    linear.stored_type = static_cast<DType>(graph_.value(view.stored).constant->data_type());
  }

  /// Why a product cannot be quantized; empty when it can.
  [[nodiscard]] std::string Obstacle(const Node& node, const Linear& linear,
                                     const ConstantView& view, bool left) const {
    if (left) return "the weight is the left operand";
    if (view.shape.size() > 2) return "the weight has more than two dimensions";
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
      const auto bias = ViewConstant(graph_, inputs[2]);
      if (!bias.has_value() || bias->shape != Shape{linear.n}) return "the bias is not [N]";
    }
    return "";
  }

  /// Constants computed from shapes or small tables (rotary frequencies) are no weights.
  [[nodiscard]] bool LooksLikeTable(ValueId id) const {
    const int producer = graph_.value(id).producer;
    if (producer < 0) return false;
    const Node& node = graph_.nodes()[size_t(producer)];
    return !MovesWhole(node) && !TakesPart(node);
  }

  void ConsiderOther(int index, size_t input, const std::string& reason) {
    const auto& inputs = graph_.inputs(index);
    if (inputs.size() <= input || inputs[input] == kNoValue) return;
    if (!execution_.IsConstant(inputs[input])) return;
    Linear linear;
    linear.node = index;
    linear.site = inputs[0];
    linear.operand = inputs[input];
    const auto view = ViewConstant(graph_, linear.operand);
    if (!view.has_value()) return;
    Describe(*view, linear);
    Keep(linear, reason);
  }

  void Keep(Linear linear, const std::string& reason) {
    linear.decision.reason = reason;
    Add(std::move(linear));
  }

  void Add(Linear linear) {
    const ValueId known = linear.stored != kNoValue ? linear.stored : linear.operand;
    linear.name = LinearName(graph_, linear.node, known);
    const Node& node = graph_.nodes()[size_t(linear.node)];
    linear.node_name = node.proto().name();
    if (const auto form = form_of_.find(node.output(0)); form != form_of_.end()) {
      linear.node_name = graph_.model().spelled_out()[size_t(form->second)].original.name();
      SetPlace(form->second, linear);
    }
    linears_.push_back(std::move(linear));
  }

  /// The products of a MoE node read parts of its two stacks, which hold one after the other.
  void SetPlace(int form, Linear& linear) const {
    const auto& original = graph_.model().spelled_out()[size_t(form)].original;
    if (original.op_type() != "MoE") return;
    const auto view = ViewConstant(graph_, linear.operand);
    if (!view || !view->placement) return;
    const bool down = graph_.value(linear.stored).name == original.input(4);
    linear.place = {form, -1, view->placement->offset / (linear.n * linear.k),
                    down ? ExpertPart::kDown : ExpertPart::kUp};
  }

  /// The parts of one stored weight (the experts of a stack) are numbered from 0; other linears of
  /// the same name from the second on.
  void MakeNamesUnique() {
    std::map<std::string, std::map<ValueId, size_t>> parts;
    for (const Linear& linear : linears_) {
      auto& known = parts[linear.name];
      if (linear.part != linear.stored) known.try_emplace(linear.part, known.size());
    }
    std::map<std::string, int> seen;
    for (Linear& linear : linears_) {
      const auto& known = parts[linear.name];
      if (linear.part != linear.stored && known.size() > 1) {
        linear.name += "." + std::to_string(known.at(linear.part));
      }
      const int count = ++seen[linear.name];
      if (count > 1) linear.name += "#" + std::to_string(count);
    }
  }

  /// Counts the users of each weight, chains of Identity and their like included.
  void MarkShared() {
    std::map<ValueId, int> users;
    for (const Linear& linear : linears_) {
      if (linear.part != kNoValue && !users.contains(linear.part)) {
        users[linear.part] = CountUsers(linear.part);
      }
    }
    for (Linear& linear : linears_) {
      linear.reused = linear.part != kNoValue && users[linear.part] > 1;
    }
  }

  /// Nodes that take a part of the value are no users of the whole.
  [[nodiscard]] int CountUsers(ValueId id) const {
    int count = graph_.value(id).graph_output ? 1 : 0;
    for (const Use& use : graph_.value(id).uses) {
      const Node& node = graph_.nodes()[size_t(use.node)];
      const bool first = use.input == 0;
      if (first && MovesWhole(node)) {
        count += CountUsers(graph_.outputs(use.node)[0]);
      } else if (!first || !TakesPart(node) ||
                 !execution_.IsConstant(graph_.outputs(use.node)[0])) {
        ++count;
      }
    }
    return count;
  }

  const ExecutionPlan& execution_;
  const Graph& graph_;
  std::map<std::string, int> form_of_;  ///< of Model::spelled_out(), by an output
  std::vector<Linear> linears_;
  std::vector<Linear> constant_products_;
};

}  // namespace

std::vector<Linear> FindLinears(const ExecutionPlan& execution) { return Finder(execution).Find(); }

}  // namespace ptq
