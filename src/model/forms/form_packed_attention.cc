// com.microsoft Attention: the projection to queries, keys and values as a product of its own, and
// MultiHeadAttention for the rest. ONNX Runtime's operator schemas.

#include <string>

#include "domains.h"
#include "linear_forms.h"

namespace ptq {
namespace {

enum Input : size_t { kInput, kWeights, kBias, kMask, kPast, kAttentionBias, kPastLength };
constexpr int64_t kAxesAreInputs = 13;  ///< Unsqueeze and Split
constexpr int64_t kRangeOpset = 11;
/// Operators whose output has the rank of their first input.
bool KeepsRank(const std::string& type) { return type == "Cast" || type == "Identity"; }

/// Whether the mask is known to be [B, T] or [B, S, T], which both operators read alike.
bool IsInRows(const Graph& graph, ValueId mask) {
  const auto shape = graph.DeclaredType(mask).shape;
  if (shape.has_value()) return shape->size() == 2 || shape->size() == 3;
  const int producer = graph.value(mask).producer;
  return producer >= 0 && KeepsRank(graph.nodes()[size_t(producer)].op_type()) &&
         graph.inputs(producer)[0] != kNoValue && IsInRows(graph, graph.inputs(producer)[0]);
}

/// Whether the mask is the number of tokens of each row [B]: a sum over a mask, or what
/// EmbedLayerNormalization gives.
bool IsLengths(const Graph& graph, ValueId mask) {
  const int producer = graph.value(mask).producer;
  if (producer < 0) return false;
  const Node& node = graph.nodes()[size_t(producer)];
  const auto& outputs = graph.outputs(producer);
  if (node.op_type() == "EmbedLayerNormalization") return outputs.size() > 1 && outputs[1] == mask;
  const ValueId input = graph.inputs(producer)[0];
  if (input == kNoValue) return false;
  if (KeepsRank(node.op_type())) return IsLengths(graph, input);
  return node.op_type() == "ReduceSum" && node.Int("keepdims", 1) == 0 && IsInRows(graph, input);
}

std::string Unsqueezed(FormWriter& writer, const std::string& value, int64_t axis) {
  if (writer.opset() >= kAxesAreInputs) {
    const std::string axes = writer.Integers({1}, {axis});
    return writer.Add("Unsqueeze", {value, axes});
  }
  std::string name = writer.Add("Unsqueeze", {value});
  SetInts(writer.last(), "axes", {axis});
  return name;
}

/// MultiHeadAttention on the CPU reads no lengths: 1 for the first of T tokens, 0 behind them.
std::string MaskOfLengths(FormWriter& writer) {
  const std::string lengths = writer.Add("Cast", {writer.InputName(kMask)});
  SetInt(writer.last(), "to", int64_t(DType::kInt64));
  const std::string shape = writer.Add("Shape", {writer.InputName(kInput)});
  const std::string one = writer.Integers({}, {1});
  const std::string zero = writer.Integers({}, {0});
  const std::string tokens = writer.Add("Gather", {shape, one});
  const std::string places = writer.Add("Range", {zero, tokens, one});
  const std::string column = Unsqueezed(writer, lengths, 1);
  const std::string kept = writer.Add("Less", {places, column});
  std::string mask = writer.Add("Cast", {kept});
  SetInt(writer.last(), "to", int64_t(DType::kInt32));
  return mask;
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
  SetInt(writer.last(), "axis", -1);
  if (!by_input) SetInts(writer.last(), "split", sizes);
  return parts;
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
    const bool in_rows = IsInRows(writer.graph(), writer.input(kMask));
    // Behind a cache the lengths count its tokens, too.
    const bool lengths = !in_rows && writer.input(kPast) == kNoValue &&
                         writer.opset() >= kRangeOpset &&
                         IsLengths(writer.graph(), writer.input(kMask));
    if (!in_rows && !lengths) return false;
    mask = in_rows ? writer.InputName(kMask) : MaskOfLengths(writer);
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
  attention.set_domain(kMicrosoftDomain);
  CopyAttributes(node, attention);
  if (!node.has_output(1)) return true;
  const std::string key = writer.Fresh();
  const std::string value = writer.Fresh();
  attention.add_output(key);
  attention.add_output(value);
  const std::string keys = Unsqueezed(writer, key, 0);
  const std::string values = Unsqueezed(writer, value, 0);
  writer.Add("Concat", {keys, values}, node.output(1));
  SetInt(writer.last(), "axis", 0);
  return true;
}

}  // namespace ptq
