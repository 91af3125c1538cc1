// Looks at who reads a constant.
#include "constant_plan.h"

#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

int64_t ElementsOf(const onnx::TensorProto& tensor) {
  int64_t elements = 1;
  for (const int64_t dim : tensor.dims()) elements *= dim;
  return elements;
}

}  // namespace

ConstantForm FormOfConstant(const Typing& typing, int value) {
  const FlatValue& flat = typing.graph().value(value);
  if (flat.type != DType::kFloat32 && flat.type != DType::kBFloat16) return ConstantForm::kAsIs;
  bool half = false, other = false, given_out = false;
  for (const FlatReader& reader : flat.readers) {
    const DType wanted = typing.Wanted(reader);
    given_out = given_out || (reader.node < 0 && wanted == flat.type);
    half = half || wanted == DType::kFloat16;
    other = other || (wanted != DType::kFloat16 && wanted != DType::kUndefined);
  }
  if (!half || flat.written) return ConstantForm::kAsIs;
  if (!other) return ConstantForm::kHalved;
  if (given_out) return ConstantForm::kBoth;
  const int64_t bytes = BytesOf(flat.type, ElementsOf(*flat.constant));
  return bytes < kSmallestExternal ? ConstantForm::kBoth : ConstantForm::kHalved;
}

DType StoredType(const Typing& typing, int value) {
  return FormOfConstant(typing, value) == ConstantForm::kHalved ? DType::kFloat16
                                                                : typing.graph().value(value).type;
}

}  // namespace ptq
