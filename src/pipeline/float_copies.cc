// Finds quantized weights whose floats have to stay.
#include "float_copies.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "memory_plan.h"

#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// "1.5 MiB".
std::string Size(int64_t bytes) {
  constexpr double kUnit = 1024;
  const bool large = double(bytes) >= kUnit * kUnit;
  char text[32];
  (void)std::snprintf(text, sizeof(text), "%.1f %s",
                      double(bytes) / (large ? kUnit * kUnit : kUnit), large ? "MiB" : "KiB");
  return text;
}

/// Whether anybody but the nodes that get codes reads a constant, by way of nodes that move it.
bool HasOtherReaders(const Graph& graph, ValueId id, const std::set<int>& quantized) {
  if (graph.value(id).graph_output) return true;
  return std::ranges::any_of(graph.value(id).uses, [&](const Use& use) {
    if (quantized.contains(use.node)) return false;
    const bool moved = use.input == 0 && MovesWhole(graph.nodes()[size_t(use.node)]);
    return !moved || HasOtherReaders(graph, graph.outputs(use.node)[0], quantized);
  });
}

std::string NoteOf(const Graph& graph, const Linear& linear, int64_t floats, bool half) {
  const int64_t codes = ResultBytes(linear);
  const std::string form = "int" + std::to_string(linear.spec.bits);
  const std::string& name = graph.value(linear.stored).name;
  if (!linear.is_head) {
    return "'" + linear.name + "' shares its weight '" + name +
           "' with nodes that read its floats: these stay (" + Size(floats) +
           ") beside the codes (" + Size(codes) + ")";
  }
  const int64_t shared = BytesOf(DType::kFloat16, linear.n * linear.k);
  if (floats + codes <= shared) return "";
  return "the LM head '" + linear.name + "' is tied to the embedding table '" + name +
         "', whose floats stay (" + Size(floats) + (half ? " as FP16" : "") + ") beside the " +
         form + " codes (" + Size(codes) + "): " + Size(floats + codes) +
         " together, where --lm-head " + "fp16 stores one table of " + Size(shared) +
         " that both share";
}

}  // namespace

std::vector<std::string> FloatCopyNotes(const Source& source, const Plan& plan,
                                        const Recipe& recipe) {
  std::map<ValueId, std::set<int>> quantized;  // nodes that get codes, by weight
  for (const Linear& linear : plan.linears) {
    if (linear.decision != Decision::kQuantize || linear.part != linear.stored) continue;
    quantized[linear.stored].insert(linear.gather >= 0 ? linear.gather : linear.node);
    for (const ConstantProduct& product : linear.constant_products) {
      quantized[linear.stored].insert(product.node);
    }
  }
  std::vector<std::string> notes;
  for (const Linear& linear : plan.linears) {
    if (linear.decision != Decision::kQuantize || !linear.shared) continue;
    const auto nodes = quantized.extract(linear.stored);  // once for each weight
    if (nodes.empty() || !HasOtherReaders(source.graph, linear.stored, nodes.mapped())) continue;
    const onnx::TensorProto& stored = *source.graph.value(linear.stored).constant;
    const bool half = recipe.half_floats && linear.stored_type == DType::kFloat32;
    const int64_t floats = half ? BytesOf(DType::kFloat16, linear.n * linear.k)
                                : source.model.weights().SizeInFile(stored);
    std::string note = NoteOf(source.graph, linear, floats, half);
    if (!note.empty()) notes.push_back(std::move(note));
  }
  return notes;
}

}  // namespace ptq
