// Caches of codes: an attention's, and those that a graph concatenates.
#include <string>
#include <utility>

#include "dequantize_rule.h"

#include "ptq/model/node_builder.h"

namespace ptq::dequantize {
namespace {

/// Div, whose second input are the scales (or a Cast of them), in front of Round, Clip and a Cast
/// to int8; else null.
const onnx::NodeProto* StepsBehind(const DequantizeRewriter& to, const onnx::NodeProto& cast) {
  const onnx::NodeProto* at = to.Producer(cast.input(0), "Clip");
  if (at != nullptr) at = to.Producer(at->input(0), "Round");
  if (at != nullptr) at = to.Producer(at->input(0), "Div");
  if (at == nullptr) return nullptr;
  const onnx::NodeProto* const cast_scales = to.Producer(at->input(1), "Cast");
  const std::string& scales = cast_scales == nullptr ? at->input(1) : cast_scales->input(0);
  return to.Constant(scales) != nullptr ? at : nullptr;
}

/// New rows stay floats.
bool QuantizedRows(const Rule& rule) {
  const onnx::NodeProto* const steps = StepsBehind(rule.to, rule.node.proto());
  if (steps == nullptr || !rule.to.changes()) return false;
  rule.to.Declare(rule.output(), rule.to.TypeOf(steps->input(0)), 1);
  rule.to.Emit("Identity", rule.node.name(), {steps->input(0)}, rule.output());
  rule.to.Retire(rule.in(0));
  return true;
}

/// Readers of a cache divide its floats by the scales that their products bring in.
bool FloatsOfCache(const Rule& rule) {
  const onnx::NodeProto* const concat = rule.to.Producer(rule.in(0), "Concat");
  const bool behind_past = concat != nullptr && concat->input_size() == 2;
  const onnx::NodeProto* const rows =
      rule.to.Producer(behind_past ? concat->input(1) : rule.in(0), "Cast");
  const onnx::NodeProto* const steps = rows == nullptr ? nullptr : StepsBehind(rule.to, *rows);
  if (steps == nullptr) return false;
  rule.to.CountCache();
  if (!rule.to.changes()) return false;
  const auto dtype = static_cast<DType>(rule.node.Int("to", 0));
  rule.to.Declare(rule.in(0), dtype, 1);
  if (behind_past) rule.to.Declare(concat->input(0), dtype, 1);
  rule.to.Emit("Div", rule.node.name(), {rule.in(0), steps->input(1)}, rule.output());
  return true;
}

}  // namespace

bool CastOfCache(const Rule& rule) {
  const int64_t to = rule.node.Int("to", 0);
  if (to == onnx::TensorProto::INT8) return QuantizedRows(rule);
  return IsFloat(static_cast<DType>(to)) && FloatsOfCache(rule);
}

bool BranchesWithCaches(const Rule& rule) {
  for (const char* branch : {"then_branch", "else_branch"}) {
    const onnx::GraphProto* const graph = rule.node.Subgraph(branch);
    for (int i = 0; graph != nullptr && i < graph->output_size(); ++i) {
      if (!rule.to.Declared(graph->output(i).name()) || !rule.node.has_output(i)) continue;
      const auto type = graph->output(i).type().tensor_type().elem_type();
      rule.to.Declare(rule.node.output(i), static_cast<DType>(type), 1);
    }
  }
  return false;
}

bool QuantizedCache(const Rule& rule) {
  if (rule.node.String("k_quant_type", "NONE") == "NONE") return false;
  for (int i = 0; i < 2; ++i) rule.to.CountCache();
  if (!rule.to.changes()) return false;
  onnx::NodeProto attention = rule.node.proto();
  for (const char* name : {"k_quant_type", "v_quant_type", "kv_cache_bit_width"}) {
    RemoveAttribute(attention, name);
  }
  constexpr int kKeyScale = 12;
  const int factor = rule.node.Int("kv_cache_bit_width", 8) == 4 ? 2 : 1;
  const bool half = rule.to.TypeOf(rule.in(0)) == DType::kFloat16;
  const DType dtype = half ? DType::kFloat16 : DType::kFloat32;
  for (const int i : {0, 1}) {
    rule.to.Retire(rule.in(kKeyScale + i));
    if (attention.input_size() > kKeyScale + i) attention.set_input(kKeyScale + i, "");
    rule.to.Declare(rule.in(3 + i), dtype, factor);
    rule.to.Declare(attention.output(1 + i), dtype, factor);
  }
  while (attention.input().rbegin()->empty()) attention.mutable_input()->RemoveLast();
  rule.to.Emit(std::move(attention));
  return true;
}

}  // namespace ptq::dequantize
