// The names and widths of ONNX's element types, in one table.
#include "ptq/tensor/dtype.h"

#include <array>

#include "ptq/tensor/sequence.h"

namespace ptq {
namespace {

struct TypeInfo {
  std::string_view name;
  int bits;
};

/// Indexed by the ONNX number of the type.
constexpr std::array<TypeInfo, 27> kTypes = {{
    {"undefined", 0},      {"float32", 32},     {"uint8", 8},          {"int8", 8},
    {"uint16", 16},        {"int16", 16},       {"int32", 32},         {"int64", 64},
    {"string", 0},         {"bool", 8},         {"float16", 16},       {"float64", 64},
    {"uint32", 32},        {"uint64", 64},      {"complex64", 64},     {"complex128", 128},
    {"bfloat16", 16},      {"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8},
    {"float8e5m2fnuz", 8}, {"uint4", 4},        {"int4", 4},           {"float4e2m1", 4},
    {"float8e8m0", 8},     {"uint2", 2},        {"int2", 2},
}};

const TypeInfo& InfoOf(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  return kTypes[index < kTypes.size() ? index : 0];
}

}  // namespace

std::string_view DTypeName(DType dtype) {
  if (dtype == kSequence) return "sequence";
  if (dtype == kEmptyOptional) return "empty optional";
  return InfoOf(dtype).name;
}

int BitsOf(DType dtype) { return InfoOf(dtype).bits; }

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16 ||
         dtype == DType::kFloat64;
}

int64_t BytesOf(DType dtype, int64_t elements) { return (elements * BitsOf(dtype) + 7) / 8; }

}  // namespace ptq
