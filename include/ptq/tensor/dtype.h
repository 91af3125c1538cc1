// Element types, numbered as in ONNX TensorProto.DataType.
#pragma once

#include <cstdint>
#include <string_view>

#include "ptq/base/half.h"

namespace ptq {

enum class DType : int32_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBFloat16 = 16,
  kUint4 = 21,
  kInt4 = 22,
  kUint2 = 25,
  kInt2 = 26,
};

/// "float16", "int64" …; "undefined" for a number that this build does not know.
[[nodiscard]] std::string_view DTypeName(DType dtype);
/// Bits of one element as stored; 0 for strings and unknown types. 4- and 2-bit types are packed.
[[nodiscard]] int BitsOf(DType dtype);
[[nodiscard]] bool IsFloat(DType dtype);
/// Bytes that `elements` values occupy (packed types: rounded up to a byte). `elements` is what
/// NumElements gives, so that nothing overflows.
[[nodiscard]] int64_t BytesOf(DType dtype, int64_t elements);

template <class T>
inline constexpr DType kDTypeOf = DType::kUndefined;
template <>
inline constexpr DType kDTypeOf<float> = DType::kFloat32;
template <>
inline constexpr DType kDTypeOf<double> = DType::kFloat64;
template <>
inline constexpr DType kDTypeOf<Half> = DType::kFloat16;
template <>
inline constexpr DType kDTypeOf<BFloat16> = DType::kBFloat16;
template <>
inline constexpr DType kDTypeOf<uint8_t> = DType::kUint8;
template <>
inline constexpr DType kDTypeOf<int8_t> = DType::kInt8;
template <>
inline constexpr DType kDTypeOf<uint16_t> = DType::kUint16;
template <>
inline constexpr DType kDTypeOf<int16_t> = DType::kInt16;
template <>
inline constexpr DType kDTypeOf<uint32_t> = DType::kUint32;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kInt32;
template <>
inline constexpr DType kDTypeOf<uint64_t> = DType::kUint64;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::kInt64;
template <>
inline constexpr DType kDTypeOf<bool> = DType::kBool;

}  // namespace ptq
