// com.microsoft QMoE: the experts of a MoE node as codes. Weights [E, N, K · bits / 8], lowest bits
// first, w = (code − zero point) · scale; scales [E, N, blocks], or [E, N] with one a row, whose
// zero points are packed along N. Checked against ONNX Runtime 1.32.
#include "forms/qmoe_experts.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "forms/bit_packing.h"
#include "forms/form_nodes.h"
#include "forms/nbits_blocks.h"

namespace ptq {
namespace {

using Matrices = std::vector<const QuantizedMatrix*>;
constexpr int kStacks[] = {2, 4};       ///< inputs of MoE; the biases are behind them
constexpr int kExpertCodes[] = {2, 5};  ///< inputs of QMoE: codes, scales, bias
constexpr int kExpertZeroPoints[] = {11, 12};
constexpr int kRouterWeights = 14;

/// What `pack` gives for each matrix, one behind the other.
template <class Element, class Pack>
std::vector<Element> Together(const Matrices& stack, const Pack& pack) {
  std::vector<Element> all;
  for (const QuantizedMatrix* q : stack) {
    const std::vector<Element> one = pack(*q);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

std::vector<std::byte> Packed(const std::vector<uint8_t>& codes, int64_t row, int bits) {
  const int64_t rows = int64_t(codes.size()) / row;
  const int64_t bytes = PackedBytes(row, bits);
  std::vector<std::byte> packed(size_t(rows * bytes));
  for (int64_t i = 0; i < rows; ++i) {
    PackBits({codes.data() + i * row, size_t(row)}, bits, packed.data() + i * bytes);
  }
  return packed;
}

/// Adds the tensors of one of the two projections, and has the node read them.
void StoreExperts(const Matrices& stack, const std::string& name, DType type, int which,
                  onnx::NodeProto& node, TensorSink& sink) {
  const QuantizedMatrix& first = *stack.front();
  const QuantSpec& spec = first.spec;
  const auto experts = int64_t(stack.size());
  const int64_t groups = spec.GroupsFor(first.k);
  const bool by_row = spec.group_size == 0;
  const std::string codes =
      sink.AddPacked(name + ".weight_q" + std::to_string(spec.bits), DType::kUint8,
                     {experts, first.n, PackedBytes(first.k, spec.bits)}, [&] {
                       return Together<std::byte>(
                           stack, [](const auto& q) { return Packed(q.codes, q.k, q.spec.bits); });
                     });
  const Shape rows{experts, first.n};
  const std::string scales = AddFloats(
      sink, name + ".weight_scales", type, by_row ? rows : Shape{experts, first.n, groups},
      [&] { return Together<float>(stack, [](const auto& q) { return q.scales; }); });
  node.set_input(kExpertCodes[which], codes);
  node.set_input(kExpertCodes[which] + 1, scales);
  if (spec.symmetric) return;
  const int64_t row = by_row ? first.n : groups;
  Shape shape{experts, first.n, PackedBytes(groups, spec.bits)};
  if (by_row) shape = {experts, PackedBytes(first.n, spec.bits)};
  node.set_input(kExpertZeroPoints[which],
                 sink.AddPacked(name + ".weight_zero_points", DType::kUint8, shape, [&] {
                   return Together<std::byte>(stack, [&](const auto& q) {
                     return Packed(q.zero_points, row, q.spec.bits);
                   });
                 }));
}

/// A stack's name without what only says that it holds weights.
std::string NameOf(const std::string& stack) {
  constexpr std::string_view kSuffix = ".weight";
  return stack.substr(0, stack.ends_with(kSuffix) ? stack.size() - kSuffix.size() : stack.size());
}

std::string InputOr(const onnx::NodeProto& node, int i) {
  return i < node.input_size() ? node.input(i) : "";
}

bool NormalizesRouting(const onnx::NodeProto& moe) {
  const auto* const attribute = FindAttribute(moe, "normalize_routing_weights");
  return attribute != nullptr && attribute->i() != 0;
}

}  // namespace

std::string RefusalOfExpert(const TensorFacts& tensor, const QuantSpec& stored) {
  if (tensor.compute == DType::kBFloat16) return "no processor's QMoE takes BF16";
  const std::string what = "QMoE has no room for ";
  if (tensor.k * stored.bits % 8 != 0) {
    return what + "rows of " + std::to_string(tensor.k) + " weights of " +
           std::to_string(stored.bits) + " bits, which do not fill bytes";
  }
  if (stored.group_size > 0 && tensor.k % stored.group_size != 0) {
    return what + "groups of " + std::to_string(stored.group_size) + " in rows of " +
           std::to_string(tensor.k) + " weights, which they do not divide";
  }
  if (stored.group_size == 0 && !stored.symmetric && tensor.n * stored.bits % 8 != 0) {
    return what + "the zero points of " + std::to_string(tensor.n) + " rows of " +
           std::to_string(stored.bits) + " bits, which do not fill bytes";
  }
  return "";
}

int64_t BytesOfExpert(const TensorFacts& tensor, const QuantSpec& stored) {
  const int64_t groups = stored.GroupsFor(tensor.k);
  const int64_t codes = tensor.n * PackedBytes(tensor.k, stored.bits);
  const int64_t scales = BytesOf(ScaleTypeFor(tensor.compute), tensor.n * groups);
  if (stored.symmetric) return codes + scales;
  return codes + scales +
         (stored.group_size == 0 ? PackedBytes(tensor.n, stored.bits)
                                 : tensor.n * PackedBytes(groups, stored.bits));
}

std::vector<onnx::NodeProto> QMoeNodes(const ExpertsToEmit& experts, TensorSink& sink) {
  const onnx::NodeProto& moe = *experts.node;
  const QuantSpec& spec = experts.up.front()->spec;
  std::vector<onnx::NodeProto> nodes;
  auto node = MakeNode("QMoE", moe.name(), {moe.input(0), moe.input(1)}, moe.output(0));
  node.set_domain(kBlocksDomain);
  const bool normalizes = NormalizesRouting(moe);
  const int inputs = normalizes ? kExpertZeroPoints[1] + 1 : kRouterWeights + 1;
  while (node.input_size() < inputs) node.add_input("");
  for (const int which : {0, 1}) {
    const Matrices& stack = which == 0 ? experts.up : experts.down;
    StoreExperts(stack, NameOf(moe.input(kStacks[which])), experts.type, which, node, sink);
    node.set_input(kExpertCodes[which] + 2, InputOr(moe, kStacks[which] + 1));
  }
  if (!normalizes) {  // ONNX Runtime's QMoE takes the softmax over those that are chosen alone
    const std::string weights = moe.output(0) + "_router_weights";
    nodes.push_back(MakeNode("Softmax", moe.name() + "/router_weights", {moe.input(1)}, weights));
    SetInt(nodes.back(), "axis", -1);
    node.set_input(kRouterWeights, weights);
  }
  while (node.input(node.input_size() - 1).empty()) node.mutable_input()->RemoveLast();
  for (const char* const name :
       {"k", "activation_type", "normalize_routing_weights", "swiglu_fusion", "swiglu_limit",
        "activation_alpha", "activation_beta"}) {
    const auto* const attribute = FindAttribute(moe, name);
    if (attribute != nullptr) *node.add_attribute() = *attribute;
  }
  SetInt(node, "expert_weight_bits", spec.bits);
  if (spec.group_size > 0) SetInt(node, "block_size", spec.group_size);
  nodes.push_back(std::move(node));
  return nodes;
}

}  // namespace ptq
