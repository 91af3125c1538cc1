// Finds the scales among the operands of quantized operators and looks at their values.
#include "stored_values.h"

#include <cmath>
#include <map>
#include <set>
#include <string_view>

#include "ptq/base/interrupt.h"
#include "ptq/model/graph.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

/// Which inputs are scales.
const std::set<int>& ScalesOf(const Node& node) {
  static const std::map<std::string_view, std::set<int>> kScales = {
      {"QuantizeLinear", {1}},
      {"DequantizeLinear", {1}},
      {"QLinearMatMul", {1, 4, 6}},
      {"QLinearConv", {1, 4, 6}},
      {"MatMulNBits", {2}},
      {"MatMulBnb4", {2}},
      {"GatherBlockQuantized", {2}},
      {"QGemm", {1, 4, 7}},
      {"QAttention", {3, 4}},
      {"DynamicQuantizeMatMul", {2}},
      {"MatMulIntegerToFloat", {2, 3}},
      {"QMoE", {3, 6, 9}},
      {"GroupQueryAttention", {12, 13}}};
  static const std::set<int> kNone;
  const auto found = kScales.find(node.op_type());
  return found == kScales.end() ? kNone : found->second;
}

int64_t CountNotFinite(const Tensor& tensor) {
  const Tensor values = tensor.Cast(DType::kFloat32);
  int64_t count = 0;
  for (const float value : values.data<float>()) count += std::isfinite(value) ? 0 : 1;
  return count;
}

}  // namespace

StoredValues CheckStoredValues(const std::filesystem::path& path) {
  const Model model = Model::LoadUnchanged(path);
  const Graph graph(model);
  StoredValues found;
  std::set<ValueId> seen;
  for (int i = 0; i < std::ssize(graph.nodes()); ++i) {
    CheckInterrupt();
    const auto& inputs = graph.inputs(i);
    for (const int input : ScalesOf(graph.nodes()[size_t(i)])) {
      if (input >= std::ssize(inputs) || inputs[size_t(input)] == kNoValue) continue;
      const ValueId id = inputs[size_t(input)];
      const Value& value = graph.value(id);
      if (value.constant == nullptr || !seen.insert(id).second) continue;
      const Tensor scales = model.weights().Read(*value.constant);
      if (!IsFloat(scales.dtype())) continue;
      ++found.scales;
      if (const int64_t count = CountNotFinite(scales); count > 0) {
        found.problems.push_back(std::to_string(count) + " of " + std::to_string(scales.size()) +
                                 " scales of '" + value.name + "' are no finite numbers");
      }
    }
  }
  return found;
}

}  // namespace ptq
