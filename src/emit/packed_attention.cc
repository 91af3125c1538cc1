// Finds the packed attention behind a product among the forms that were spelled out.
#include "packed_attention.h"

#include <algorithm>
#include <string>

namespace ptq {
namespace {

constexpr int kPackedBias = 2;   ///< of Attention
constexpr int kSpelledBias = 3;  ///< of the MultiHeadAttention that stands for it

}  // namespace

std::optional<PackedAttention> FindPackedAttention(const Graph& graph, const GraphEditor& editor,
                                                   int product) {
  const std::string& output = graph.nodes()[size_t(product)].output(0);
  for (const SpelledOut& form : graph.model().spelled_out()) {
    const onnx::NodeProto& packed = form.original;
    if (packed.op_type() != "Attention") continue;
    if (std::ranges::find(form.outputs, output) == form.outputs.end()) continue;
    const int node = graph.value(graph.Find(packed.output(0))).producer;
    const bool biased = packed.input_size() > kPackedBias && !packed.input(kPackedBias).empty();
    return PackedAttention{&packed, node, biased ? editor.InputOf(node, kSpelledBias) : ""};
  }
  return std::nullopt;
}

}  // namespace ptq
