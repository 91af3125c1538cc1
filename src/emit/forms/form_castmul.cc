// The form of filters: INT8 codes, a Cast and a Mul by the scale of each output channel. Runtimes
// compute constants when they load a model, so the file is smaller and a run is as before.

#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// The first opset whose operators broadcast by themselves.
constexpr int64_t kMulOpset = 7;

/// Shapes of the codes and of the scales beside them. Output channels of groups have no axis of
/// their own in the filters of a ConvTranspose, so codes get one more, which a Reshape takes away.
std::pair<Shape, Shape> ShapesOf(const FiltersToEmit& filters) {
  Shape codes = filters.shape;
  const int64_t groups = filters.filters.groups;
  if (groups > 1) {
    codes[0] /= groups;
    codes.insert(codes.begin(), groups);
  }
  Shape scales(codes.size(), 1);
  const size_t axis = groups == 0 ? 0 : groups == 1 ? 1 : 2;
  scales[axis] = codes[axis];
  if (groups > 1) scales[0] = groups;
  return {codes, scales};
}

/// In the order of the source's elements.
std::vector<std::byte> StoredCodes(const Constant& filters, const QuantizedMatrix& q) {
  std::vector<uint8_t> codes(q.codes.size());
  filters.ForEachWeight([&](size_t i, size_t element) { codes[element] = q.codes[i]; });
  return PackIntegers(std::move(codes), q.spec);
}

class CastMul : public FilterForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "castmul"; }

  void CheckSpec(const QuantSpec& spec) const override {
    if (spec.bits == 8 && spec.group_size == 0 && spec.symmetric) return;
    throw UsageError("filters are signed 8-bit codes with one scale for each output channel");
  }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& /*parameters*/) const override {
    if (tensor.compute == DType::kFloat64) return "it holds float64";
    if (tensor.opset >= kMulOpset) return "";
    return "the model's opset " + std::to_string(tensor.opset) + " is too old (" +
           std::to_string(kMulOpset) + " broadcasts)";
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& /*parameters*/) const override {
    return tensor.n * (tensor.k + BytesOf(ScaleTypeFor(tensor.compute), 1));
  }

  [[nodiscard]] std::vector<std::vector<onnx::NodeProto>> Emit(const FiltersToEmit& filters,
                                                               TensorSink& sink) const override {
    const Constant& constant = filters.filters;
    const Shape& shape = filters.shape;
    const QuantizedMatrix& q = filters.q;
    CheckSpec(q.spec);
    const auto [codes_shape, scales_shape] = ShapesOf(filters);
    const std::string codes = sink.AddPacked(
        constant.name + ".weight_q8", DType::kInt8, codes_shape,
        [&filters_of = constant, &matrix = q] { return StoredCodes(filters_of, matrix); });
    const DType inner = ScaleTypeFor(constant.operand_type);
    const std::string scales = AddFloats(sink, constant.name + ".weight_scales", inner,
                                         scales_shape, [&matrix = q] { return matrix.scales; });
    std::string whole;
    if (codes_shape != shape) {
      whole = sink.Add(constant.name + ".weight_shape", DType::kInt64, {int64_t(shape.size())},
                       std::as_bytes(std::span(shape)));
    }
    std::vector<std::vector<onnx::NodeProto>> all;
    for (const std::string& name : filters.to) {
      std::vector<onnx::NodeProto> nodes = {
          MakeCast(name + "/cast", codes, name + "_codes", inner),
          MakeNode("Mul", name + "/dequantize", {name + "_codes", scales}, name)};
      const auto follow = [&](const char* suffix, auto&& make) {
        const std::string before = name + suffix;
        nodes.back().set_output(0, before);
        nodes.push_back(make(before));
      };
      if (inner != constant.operand_type) {
        follow("_wide", [&](const std::string& from) {
          return MakeCast(name + "/narrow", from, name, constant.operand_type);
        });
      }
      if (!whole.empty()) {
        follow("_groups", [&](const std::string& from) {
          return MakeNode("Reshape", name + "/reshape", {from, whole}, name);
        });
      }
      all.push_back(std::move(nodes));
    }
    return all;
  }
};

}  // namespace

const FilterForm& CastMulForm() {
  static const CastMul form;
  return form;
}

}  // namespace ptq
