// Inputs of QAttention: codes of the activation and of the weight, bias, both scales, mask, both
// zero points. Checked against ONNX Runtime 1.32.
#include "quantized_attention.h"

#include <cstdint>
#include <set>

#include "form_nodes.h"
#include "nbits_blocks.h"

namespace ptq {
namespace {

constexpr int kMask = 3;  ///< of Attention; behind it are what QAttention has not, and the past

/// Queries, keys and values of one size, as QAttention takes them to be.
bool HaveOneSize(const onnx::NodeProto& attention) {
  const auto* const sizes = FindAttribute(attention, "qkv_hidden_sizes");
  return sizes == nullptr ||
         std::set<int64_t>(sizes->ints().begin(), sizes->ints().end()).size() < 2;
}

}  // namespace

bool IsWholeAttention(const LinearToEmit& linear) {
  if (!linear.attention || linear.attention->bias.empty() || !linear.bias.empty()) {
    return false;
  }
  const onnx::NodeProto& attention = *linear.attention->packed;
  for (int i = kMask + 1; i < attention.input_size(); ++i) {
    if (!attention.input(i).empty()) return false;
  }
  return linear.type == DType::kFloat32 && attention.output_size() == 1 && HaveOneSize(attention);
}

onnx::NodeProto QAttentionNode(const LinearToEmit& linear, const RoundedInput& x,
                               const std::vector<std::string>& product, const std::string& scales) {
  const onnx::NodeProto& attention = *linear.attention->packed;
  const std::string mask = attention.input_size() > kMask ? attention.input(kMask) : "";
  auto node =
      MakeNode("QAttention", linear.node_name,
               {x.codes, product[1], linear.attention->bias, x.scale, scales, mask, x.zero_point},
               attention.output(0));
  if (product.size() > 3) node.add_input(product[3]);
  node.set_domain(kBlocksDomain);
  for (const auto& attribute : attention.attribute()) {
    if (attribute.name() != "qkv_hidden_sizes") *node.add_attribute() = attribute;
  }
  return node;
}

}  // namespace ptq
