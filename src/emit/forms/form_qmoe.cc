// com.microsoft QMoE: the experts of a MoE node as codes. Weights [E, N, K · bits / 8], lowest bits
// first, w = (code − zero point) · scale; scales [E, N, blocks], or [E, N] with one a row, whose
// zero points are packed along N. Checked against ONNX Runtime 1.32.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"
#include "nbits_blocks.h"

#include "ptq/base/error.h"
#include "ptq/emit/stored_codes.h"

namespace ptq {
namespace {

constexpr int kStacks[] = {2, 4};       ///< inputs of MoE; the biases are behind them
constexpr int kExpertCodes[] = {2, 5};  ///< inputs of QMoE: codes, scales, bias
constexpr int kExpertZeroPoints[] = {11, 12};
constexpr int kRouterWeights = 14;

/// What each row of each expert has of some kind, one row behind the other.
template <class Element>
std::vector<Element> Together(const ExpertStack& stack,
                              const std::vector<Element> QuantizedMatrix::*kind, int64_t width) {
  std::vector<Element> all;
  all.reserve(size_t(stack.experts * stack.n * width));
  for (int64_t expert = 0; expert < stack.experts; ++expert) {
    for (int64_t r = 0; r < stack.n; ++r) {
      const ExpertRow place = stack.row(expert, r);
      const Element* const row = (place.matrix->*kind).data() + place.row * width;
      all.insert(all.end(), row, row + width);
    }
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
void StoreExperts(const ExpertStack& stack, const std::string& name, DType type, int which,
                  onnx::NodeProto& node, TensorSink& sink) {
  const QuantSpec& spec = stack.spec;
  const int64_t groups = spec.GroupsFor(stack.k);
  const bool by_row = spec.group_size == 0;
  const std::string codes = sink.AddPacked(
      name + ".weight_q" + std::to_string(spec.bits), DType::kUint8,
      {stack.experts, stack.n, PackedBytes(stack.k, spec.bits)}, [&] {
        return Packed(Together(stack, &QuantizedMatrix::codes, stack.k), stack.k, spec.bits);
      });
  const Shape rows{stack.experts, stack.n};
  const std::string scales = AddFloats(
      sink, name + ".weight_scales", type, by_row ? rows : Shape{stack.experts, stack.n, groups},
      [&] { return Together(stack, &QuantizedMatrix::scales, groups); });
  node.set_input(kExpertCodes[which], codes);
  node.set_input(kExpertCodes[which] + 1, scales);
  if (spec.symmetric) return;
  const int64_t row = by_row ? stack.n : groups;
  Shape shape{stack.experts, stack.n, PackedBytes(groups, spec.bits)};
  if (by_row) shape = {stack.experts, PackedBytes(stack.n, spec.bits)};
  node.set_input(kExpertZeroPoints[which],
                 sink.AddPacked(name + ".weight_zero_points", DType::kUint8, shape, [&] {
                   return Packed(Together(stack, &QuantizedMatrix::zero_points, groups), row,
                                 spec.bits);
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

/// Why an expert's W[N, K] cannot have codes of a specification, as the file holds them; empty when
/// it can.
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
  const int64_t n = tensor.n / tensor.experts;
  if (stored.group_size == 0 && !stored.symmetric && n * stored.bits % 8 != 0) {
    return what + "the zero points of " + std::to_string(n) + " rows of " +
           std::to_string(stored.bits) + " bits, which do not fill bytes";
  }
  return "";
}

/// What they take in the file.
int64_t BytesOfExpert(const TensorFacts& tensor, const QuantSpec& stored) {
  const int64_t groups = stored.GroupsFor(tensor.k);
  const int64_t codes = tensor.n * PackedBytes(tensor.k, stored.bits);
  const int64_t scales = BytesOf(ScaleTypeFor(tensor.compute), tensor.n * groups);
  if (stored.symmetric) return codes + scales;
  return codes + scales +
         (stored.group_size == 0
              ? tensor.experts * PackedBytes(tensor.n / tensor.experts, stored.bits)
              : tensor.n * PackedBytes(groups, stored.bits));
}

/// The nodes that replace a MoE.
std::vector<onnx::NodeProto> QMoeNodes(const ExpertsToEmit& experts, TensorSink& sink) {
  const onnx::NodeProto& moe = *experts.node;
  const QuantSpec& spec = experts.up.spec;
  std::vector<onnx::NodeProto> nodes;
  auto node = MakeNode("QMoE", moe.name(), {moe.input(0), moe.input(1)}, moe.output(0));
  node.set_domain(kBlocksDomain);
  const bool normalizes = NormalizesRouting(moe);
  const int inputs = normalizes ? kExpertZeroPoints[1] + 1 : kRouterWeights + 1;
  while (node.input_size() < inputs) node.add_input("");
  for (const int which : {0, 1}) {
    const ExpertStack& stack = which == 0 ? experts.up : experts.down;
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

class QMoe : public LinearForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "qmoe"; }
  [[nodiscard]] const TableForm& tables() const override { return GatherBlocksForm(); }
  [[nodiscard]] std::string_view ForMixtures() const override { return name(); }

  void CheckSpec(const QuantSpec& spec) const override { CheckBlocks("QMoE", spec); }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    if (tensor.kind != SubjectKind::kExpert)
      return "QMoE holds experts of a mixture, and no others";
    return RefusalOfExpert(tensor, AsStored(parameters.spec));
  }

  // The same codes, one product at a time.
  [[nodiscard]] std::span<const std::string_view> Fallbacks() const override {
    static constexpr std::string_view kForms[] = {"matmulnbits"};
    return kForms;
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    return BytesOfExpert(tensor, AsStored(parameters.spec));
  }

  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec>) const override {
    RaiseOpset(model, kBlocksDomain, 1);
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& /*sink*/) const override {
    throw InternalError("'" + linear.name + "': QMoE holds all experts of a mixture");
  }
  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& /*sink*/) const override {
    throw InternalError("'" + stack.name + "': QMoE holds both products of its experts");
  }
  [[nodiscard]] std::vector<onnx::NodeProto> EmitExperts(const ExpertsToEmit& experts,
                                                         TensorSink& sink) const override {
    return QMoeNodes(experts, sink);
  }
};

}  // namespace

const LinearForm& QMoeForm() {
  static const QMoe form;
  return form;
}

}  // namespace ptq
