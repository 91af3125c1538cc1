// QuantizeLinear and DequantizeLinear around floats that lie on the grid: what training frameworks
// take to tune the weights further. ONNX operators QuantizeLinear and DequantizeLinear, -13 for 8
// bits and a scale for each output, -21 for groups and INT4/UINT4, -25 for INT2/UINT2.

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"

#include "ptq/base/error.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/transform/opset_upgrade.h"

namespace ptq {
namespace {

/// Since when QuantizeLinear knows an axis.
constexpr int64_t kAxisOpset = 13;

/// The operands of both nodes, and how they share scales.
struct FakeQuant {
  std::string name;       ///< base of the tensors' names
  std::string node_name;  ///< of the node that reads the result
  std::string output;     ///< the weight behind both nodes
  DType type;             ///< of floats and scales
  Shape shape;            ///< of the weight
  Shape scale_shape;
  int64_t axis;
  int64_t block;  ///< 0: a scale for each index of the axis
};

class FakeQuantWriter : public LinearForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "fake-quant"; }
  [[nodiscard]] const TableForm& tables() const override { return GatherRowsForm(); }

  void CheckSpec(const QuantSpec& spec) const override { QdqForm().CheckSpec(spec); }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& /*parameters*/) const override {
    return tensor.kind == SubjectKind::kExpert ? kNoExperts : "";
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const QuantSpec spec = AsStored(parameters.spec);
    const int64_t groups = tensor.n * spec.GroupsFor(tensor.k);
    return BytesOf(ScaleTypeFor(tensor.compute), tensor.n * tensor.k + groups) +
           PackedBytes(groups, spec.bits);
  }

  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec> specs) const override {
    PrepareIntegers(model, specs);
  }

  [[nodiscard]] std::pair<int64_t, std::string> OpsetNeeded(
      std::span<const QuantSpec> specs) const override {
    const bool plain = std::ranges::all_of(specs, [](const QuantSpec& spec) {
      return spec.bits == 8 && spec.group_size == 0 && spec.scale_type == ScaleType::kFloat32;
    });
    return {plain ? kAxisOpset : kUpgradedOpset, "the fake-quant format"};
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    const int64_t groups = q.spec.GroupsFor(q.k);
    const bool channel = groups == 1;
    const CastedNames names = InnerNames(linear);
    const FakeQuant weight = {linear.name,
                              linear.node_name,
                              linear.output + "_weight_dequantized",
                              ComputeType(linear),
                              {q.k, q.n},
                              channel ? Shape{q.n} : Shape{groups, q.n},
                              channel ? 1 : 0,
                              channel ? 0 : q.spec.group_size};
    std::vector<onnx::NodeProto> nodes = Around(
        weight, q, sink,
        [&](const auto& values, int64_t columns) { return Transposed(values, q.n, columns); });
    AddProduct(linear, names, weight.output, nodes);
    return WithCasts(linear, std::move(nodes));
  }

  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& sink) const override {
    const QuantizedMatrix& q = *stack.q;
    CheckSpec(q.spec);
    const int64_t rows = q.n / stack.experts;
    const FakeQuant weight = {stack.name,
                              stack.node_name,
                              stack.output + "_weight_dequantized",
                              GatheredType(stack),
                              {stack.experts, rows, q.k},
                              {stack.experts, rows, q.spec.GroupsFor(q.k)},
                              2,
                              q.spec.GroupSizeFor(q.k)};
    std::vector<onnx::NodeProto> nodes =
        Around(weight, q, sink, [](const auto& values, int64_t /*columns*/) { return values; });
    nodes.push_back(
        MakeNode("Gather", stack.node_name, {weight.output, stack.indices}, GatheredName(stack)));
    return WithConversion(stack, std::move(nodes));
  }

 private:
  /// Both nodes. `arrange(values, columns)` lays a matrix [N, columns] out as the weight lies.
  template <class Arrange>
  static std::vector<onnx::NodeProto> Around(const FakeQuant& weight, const QuantizedMatrix& q,
                                             TensorSink& sink, const Arrange& arrange) {
    const int64_t groups = q.spec.GroupsFor(q.k);
    const std::string floats =
        AddFloats(sink, weight.name + ".weight_on_grid", weight.type, weight.shape, [&] {
          std::vector<float> values(size_t(q.n * q.k));
          q.Dequantize(values.data());
          return arrange(values, q.k);
        });
    const std::string scales =
        AddFloats(sink, weight.name + ".weight_scales", weight.type, weight.scale_shape,
                  [&] { return arrange(q.scales, groups); });
    // Its type tells that of the codes, so it is written where it is 0, too.
    const std::string zeros =
        sink.AddPacked(weight.name + ".weight_zero_points", IntegerType(q.spec), weight.scale_shape,
                       [&] { return PackIntegers(arrange(q.zero_points, groups), q.spec); });
    const std::string codes = weight.output + "_codes";
    std::vector<onnx::NodeProto> nodes = {
        MakeNode("QuantizeLinear", weight.node_name + "/quantize", {floats, scales, zeros}, codes),
        MakeNode("DequantizeLinear", weight.node_name + "/dequantize", {codes, scales, zeros},
                 weight.output)};
    for (onnx::NodeProto& node : nodes) {
      SetInt(node, "axis", weight.axis);
      if (weight.block > 0) SetInt(node, "block_size", weight.block);
    }
    return nodes;
  }
};

}  // namespace

const LinearForm& FakeQuantForm() {
  static const FakeQuantWriter format;
  return format;
}

}  // namespace ptq
