// What the rules have in common: names, attributes, products, and weights by their codes.
#include "dequantize_rule.h"

#include <algorithm>
#include <utility>

namespace ptq::dequantize {
namespace {

bool IsCode(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUint8:
    case DType::kInt16:
    case DType::kUint16:
    case DType::kInt4:
    case DType::kUint4:
    case DType::kInt2:
    case DType::kUint2: return true;
    default: return false;
  }
}

}  // namespace

bool IsWeight(const Stored& tensor) {
  if (tensor == nullptr || !IsCode(TypeOf(*tensor))) return false;
  return std::ranges::count_if(tensor->dims(), [](int64_t dim) { return dim > 1; }) >= 2;
}

bool IsOperand(const Stored& tensor) {
  return tensor != nullptr && IsCode(TypeOf(*tensor)) && tensor->dims_size() >= 2;
}

std::string Rule::name() const {
  std::string name = node.proto().name();
  for (const std::string_view suffix : {"_Q2", "_Q4", "_Q8", "_Bnb4", "_quant"}) {
    if (name.size() > suffix.size() && name.ends_with(suffix)) {
      name.resize(name.size() - suffix.size());
    }
  }
  return name;
}

void Rule::CopyAttributes(onnx::NodeProto& heir,
                          std::initializer_list<std::string_view> names) const {
  for (const auto& attribute : node.proto().attribute()) {
    if (std::ranges::find(names, attribute.name()) != names.end()) {
      *heir.add_attribute() = attribute;
    }
  }
}

void Rule::EmitProduct(const std::string& x, const std::string& w, const std::string& bias) const {
  const std::string product = bias.empty() ? output() : Fresh("product");
  to.Emit("MatMul", name(), {x, w}, product);
  if (!bias.empty()) to.Emit("Add", name() + "/add_bias", {product, bias}, output());
}

std::string Rule::FloatOf(const std::string& codes, const std::string& scale,
                          const std::string& zero) const {
  const auto* dynamic = to.Producer(codes, "DynamicQuantizeLinear");
  if (dynamic != nullptr && dynamic->output(0) == codes && OutputOf(*dynamic, 1) == scale) {
    to.Retire(codes);
    return dynamic->input(0);
  }
  std::string floats = Fresh("dequantized");
  std::vector<std::string> inputs = {codes, scale};
  if (!zero.empty()) inputs.push_back(zero);
  to.Emit("DequantizeLinear", name() + "/dequantize_input", inputs, floats);
  return floats;
}

std::string Rule::AddLinear(const Stored& codes, const Stored& scale, const Stored& zero,
                            int64_t axis, int64_t block) const {
  QuantizedWeight weight;
  weight.codes = codes;
  weight.scales = scale;
  weight.zeros = zero;
  weight.shape = ShapeOf(*codes);
  weight.dtype = TypeOf(*scale);
  weight.code_type = TypeOf(*codes);
  weight.row_codes = weight.shape.back();
  weight.axis = axis;
  weight.block = block;
  return to.AddWeight(std::move(weight));
}

}  // namespace ptq::dequantize
