// Looks at the users of every stored tensor: tables are looked up, the rest are constants.
#include "find_tensors.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ptq/ops/kernel.h"
#include "ptq/plan/names.h"

namespace ptq {
namespace {

/// Operators whose output holds the elements of their first input.
bool Carries(const Node& node) {
  static const std::set<std::string> kTypes = {"Cast",    "Identity", "Transpose",
                                               "Reshape", "Squeeze",  "DequantizeLinear"};
  return kTypes.contains(node.op_type());
}

bool LooksUp(const Node& node, int input) {
  const std::string& type = node.op_type();
  if (type == "Gather" || type == "GatherBlockQuantized") return input == 0;
  return type == "EmbedLayerNormalization" && input >= 2 && input <= 4;
}

/// Whether a node gives what the model's inputs play no part in: a matrix of a stack, say.
bool GivesConstants(const ExecutionPlan& execution, int node) {
  return std::ranges::all_of(execution.graph().outputs(node), [&](ValueId id) {
    return id == kNoValue || execution.IsConstant(id);
  });
}

/// The nodes that look rows of a value up, by way of those that carry its elements.
void AddLookups(const ExecutionPlan& execution, ValueId id, const std::set<int>& stacks, int depth,
                std::vector<int>& lookups) {
  constexpr int kDeepest = 4;
  const Graph& graph = execution.graph();
  for (const Use& use : graph.value(id).uses) {
    if (use.node < 0 || stacks.contains(use.node)) continue;
    const Node& node = graph.nodes()[size_t(use.node)];
    if (LooksUp(node, use.input)) {
      if (!GivesConstants(execution, use.node)) lookups.push_back(use.node);
    } else if (use.input == 0 && depth < kDeepest && Carries(node)) {
      AddLookups(execution, graph.outputs(use.node)[0], stacks, depth + 1, lookups);
    }
  }
}

Shape ShapeOf(const StoredTensor& tensor) { return {tensor.dims().begin(), tensor.dims().end()}; }

/// Whether anybody but the nodes that get codes reads a constant, or what is computed of it alone.
bool HasOtherReaders(const ExecutionPlan& execution, ValueId id, const std::set<int>& quantized) {
  const Graph& graph = execution.graph();
  std::set<ValueId> seen = {id};
  for (std::vector<ValueId> open = {id}; !open.empty();) {
    const ValueId value = open.back();
    open.pop_back();
    if (graph.value(value).graph_output) return true;
    for (const Use& use : graph.value(value).uses) {
      if (quantized.contains(use.node)) continue;
      if (use.node < 0 || !GivesConstants(execution, use.node)) return true;
      for (const ValueId output : graph.outputs(use.node)) {
        if (output != kNoValue && seen.insert(output).second) open.push_back(output);
      }
    }
  }
  return false;
}

/// Stored tensors of linears whose floats the written model does not hold beside something else:
/// of those that keep theirs, and of quantized ones that nobody else reads.
std::set<ValueId> ValuesOfLinears(const ExecutionPlan& execution, const Plan& plan) {
  std::map<ValueId, std::set<int>> quantized;  // nodes that get codes, by weight
  std::set<ValueId> found;
  for (const Linear& linear : plan.linears) {
    if (linear.stored == kNoValue) continue;
    if (!linear.decision.quantizes()) {
      found.insert(linear.stored);
      continue;
    }
    auto& nodes = quantized[linear.stored];
    nodes.insert(linear.gather >= 0 ? linear.gather : linear.node);
    for (const ConstantProduct& product : linear.constant_products) nodes.insert(product.node);
  }
  for (const auto& [stored, nodes] : quantized) {
    if (!HasOtherReaders(execution, stored, nodes)) found.insert(stored);
  }
  return found;
}

}  // namespace

std::vector<Table> FindTables(const ExecutionPlan& execution, const Plan& plan) {
  const Graph& graph = execution.graph();
  std::set<int> stacks;  // Gathers that pick experts
  for (const Linear& linear : plan.linears) stacks.insert(linear.gather);
  std::vector<Table> tables;
  for (size_t i = 0; i < graph.values().size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    const StoredTensor* const constant = graph.value(id).constant;
    if (constant == nullptr || constant->dims_size() < 2) continue;
    Table table;
    AddLookups(execution, id, stacks, 0, table.lookups);
    if (table.lookups.empty()) continue;
    const Shape shape = ShapeOf(*constant);
    table.name = LinearName(graph, table.lookups.front(), id);
    table.stored = id;
    table.operand = graph.inputs(table.lookups.front())[0];
    table.n = shape[0];
    table.k = NumElements(Shape(shape.begin() + 1, shape.end()));
    table.stored_type = DType(constant->data_type());
    tables.push_back(std::move(table));
  }
  return tables;
}

std::vector<Constant> FindConstants(const ExecutionPlan& execution, const Plan& plan) {
  const Graph& graph = execution.graph();
  std::set<ValueId> taken = ValuesOfLinears(execution, plan);
  for (const Table& table : plan.tables) taken.insert(table.stored);
  for (const Constant& filters : plan.constants) taken.insert(filters.stored);
  std::vector<Constant> constants;
  for (size_t i = 0; i < graph.values().size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    const StoredTensor* const tensor = graph.value(id).constant;
    if (tensor == nullptr || taken.contains(id)) continue;
    const int64_t elements = NumElements(ShapeOf(*tensor));
    if (elements <= 1 || !IsFloat(DType(tensor->data_type()))) continue;
    Constant constant;
    constant.name = graph.value(id).name;
    constant.stored = id;
    constant.n = elements;
    constant.k = 1;
    constant.stored_type = DType(tensor->data_type());
    constants.push_back(std::move(constant));
  }
  return constants;
}

bool MayChangeType(const Graph& graph, ValueId constant) {
  static const std::set<std::string> kTypes = {"QuantizeLinear", "DequantizeLinear", "Resize",
                                               "Upsample",       "QLinearMatMul",    "QLinearConv",
                                               "MatMulInteger",  "ConvInteger"};
  static const std::set<std::string> kContrib = {"MatMulNBits",          "MatMulBnb4",
                                                 "GatherBlockQuantized", "QMoE",
                                                 "QAttention",           "DynamicQuantizeMatMul",
                                                 "MatMulIntegerToFloat", "QuantizeLinear",
                                                 "DequantizeLinear"};
  const Value& value = graph.value(constant);
  if (value.graph_output) return false;
  if (value.producer < 0 && value.scope != 0) return false;  // a subgraph gives it out
  return std::ranges::none_of(value.uses, [&](const Use& use) {
    const Node& node = graph.nodes()[size_t(use.node)];
    if (!HasKernel(node) && graph.BodyIn(use.node) < 0) return true;  // nobody knows what it wants
    if (node.domain().empty()) return kTypes.contains(node.op_type());
    return node.domain() == "com.microsoft" && kContrib.contains(node.op_type());
  });
}

}  // namespace ptq
