// com.microsoft Attention: the projection to queries, keys and values as a product of its own, and
// MultiHeadAttention for the rest. ONNX Runtime's operator schemas.

#include <string>

#include "linear_forms.h"

namespace ptq {
namespace {

enum Input : size_t { kInput, kWeights, kBias, kMask, kPast, kAttentionBias, kPastLength };
constexpr char kMicrosoft[] = "com.microsoft";
constexpr int64_t kAxesAreInputs = 13;  ///< Unsqueeze and Split
/// Operators whose output has the rank of their first input.
bool KeepsRank(const std::string& type) { return type == "Cast" || type == "Identity"; }

/// MultiHeadAttention reads masks [B, T] and [B, S, T] as Attention does, but not lengths [B].
/// The mask in such a form; nothing when there is no telling that it is one.
std::optional<std::string> MaskInRows(const Graph& graph, ValueId mask) {
  const Value& value = graph.value(mask);
  const auto shape = graph.DeclaredType(mask).shape;
  if (shape.has_value() && (shape->size() == 2 || shape->size() == 3)) return value.name;
  if (value.producer < 0) return std::nullopt;
  const Node& node = graph.nodes()[size_t(value.producer)];
  const auto& inputs = graph.inputs(value.producer);
  if (KeepsRank(node.op_type()) && inputs[0] != kNoValue) {
    return MaskInRows(graph, inputs[0]).has_value() ? std::optional(value.name) : std::nullopt;
  }
  // Its second output holds the lengths that its mask [B, T] has.
  constexpr size_t kEmbedMask = 7;
  if (node.op_type() == "EmbedLayerNormalization" && graph.outputs(value.producer)[1] == mask &&
      inputs.size() > kEmbedMask && inputs[kEmbedMask] != kNoValue) {
    return graph.value(inputs[kEmbedMask]).name;
  }
  return std::nullopt;
}

bool IsSupported(const FormWriter& writer, const ConstantView& weights) {
  const Node& node = writer.node();
  const bool shares_cache = node.Int("past_present_share_buffer", 0) != 0;
  return weights.shape.size() == 2 && !writer.View(kInput).has_value() &&
         node.Int("do_rotary", 0) == 0 && !shares_cache && writer.input(kPastLength) == kNoValue &&
         node.Int("num_heads", 0) > 0;
}

/// Columns of queries, keys and values.
std::vector<int64_t> Sizes(const Node& node, int64_t columns) {
  std::vector<int64_t> sizes = node.Ints("qkv_hidden_sizes");
  if (sizes.empty()) sizes.assign(3, columns / 3);
  return sizes;
}

/// Names of queries, keys and values.
std::vector<std::string> SplitProjection(FormWriter& writer, const std::string& projected,
                                         const std::vector<int64_t>& sizes) {
  const bool by_input = writer.opset() >= kAxesAreInputs;
  std::vector<std::string> inputs{projected};
  if (by_input) inputs.push_back(writer.Integers({3}, sizes));
  std::vector<std::string> parts{writer.Add("Split", inputs)};
  for (int i = 0; i < 2; ++i) {
    parts.push_back(writer.Fresh());
    writer.last().add_output(parts.back());
  }
  SetAttribute(writer.last(), "axis", int64_t{-1});
  if (!by_input) SetAttribute(writer.last(), "split", sizes);
  return parts;
}

std::string Unsqueezed(FormWriter& writer, const std::string& value) {
  if (writer.opset() >= kAxesAreInputs) {
    return writer.Add("Unsqueeze", {value, writer.Integers({1}, {0})});
  }
  std::string name = writer.Add("Unsqueeze", {value});
  SetAttribute(writer.last(), "axes", std::vector<int64_t>{0});
  return name;
}

void CopyAttributes(const Node& from, onnx::NodeProto& to) {
  for (const auto& attribute : from.proto().attribute()) {
    const std::string& name = attribute.name();
    const bool shared = name == "num_heads" || name == "scale" || name == "unidirectional" ||
                        name == "mask_filter_value";
    if (shared) *to.add_attribute() = attribute;
  }
}

}  // namespace

bool SpellOutPackedAttention(FormWriter& writer) {
  const Node& node = writer.node();
  const auto weights = writer.View(kWeights);
  if (!weights.has_value() || !IsSupported(writer, *weights)) return false;
  std::string mask;
  if (writer.input(kMask) != kNoValue) {
    const auto in_rows = MaskInRows(writer.graph(), writer.input(kMask));
    if (!in_rows.has_value()) return false;
    mask = *in_rows;
  }
  const std::string projected =
      writer.Add("MatMul", {writer.InputName(kInput), writer.InputName(kWeights)});
  writer.NameProduct();
  const auto parts = SplitProjection(writer, projected, Sizes(node, weights->shape[1]));
  std::string past_key, past_value;
  if (writer.input(kPast) != kNoValue) {  // [2, B, H, P, D]
    past_key = writer.Add("Gather", {writer.InputName(kPast), writer.Integers({}, {0})});
    past_value = writer.Add("Gather", {writer.InputName(kPast), writer.Integers({}, {1})});
  }
  writer.Add("MultiHeadAttention",
             {parts[0], parts[1], parts[2], writer.InputName(kBias), mask,
              writer.InputName(kAttentionBias), past_key, past_value},
             node.output(0));
  onnx::NodeProto& attention = writer.last();
  while (attention.input(attention.input_size() - 1).empty()) {
    attention.mutable_input()->RemoveLast();
  }
  attention.set_domain(kMicrosoft);
  CopyAttributes(node, attention);
  if (!node.has_output(1)) return true;
  const std::string key = writer.Fresh();
  const std::string value = writer.Fresh();
  attention.add_output(key);
  attention.add_output(value);
  const std::string keys = Unsqueezed(writer, key);
  const std::string values = Unsqueezed(writer, value);
  writer.Add("Concat", {keys, values}, node.output(1));
  SetAttribute(writer.last(), "axis", int64_t{0});
  return true;
}

}  // namespace ptq
