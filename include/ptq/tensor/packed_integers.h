// Integers of 2, 4 and 8 bits packed in bytes, lowest bits first, unpacked for the quantized
// operators.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Codes [begin, begin + count) of a little-endian bit stream of unsigned `bits`-wide codes (1 to 8
/// bits; 3-, 5-, 6- and 7-bit codes run over byte borders).
void UnpackBits(const uint8_t* bytes, int bits, int64_t begin, int64_t count, uint8_t* codes);

/// The same as floats: out[i] = (code - zero_point) · scale. 2, 4 and 8 bits; `begin` starts a
/// byte.
void DequantizeCodes(const uint8_t* bytes, int bits, int64_t count, float scale, float zero_point,
                     float* out);

/// Elements of any integer type, packed or not, as int32. Throws UnsupportedError for other types.
[[nodiscard]] std::vector<int32_t> UnpackIntegers(const Tensor& tensor, int64_t begin,
                                                  int64_t count);
/// The values of the 4-bit float formats of bitsandbytes by code: FP4 for type 0, else NF4.
[[nodiscard]] std::span<const float, 16> FloatCodebook(int type);
/// Smallest and largest value of an integer type of at most 32 bits.
struct IntegerRange {
  int64_t lowest;
  int64_t highest;
};
[[nodiscard]] IntegerRange RangeOf(DType dtype);

/// Whether a type is integers of any width, packed ones included; bool is not.
[[nodiscard]] bool IsInteger(DType dtype);

/// Integers as a tensor of a type of up to 16 bits, of which they keep the low bits.
[[nodiscard]] Tensor PackIntegers(DType dtype, const Shape& shape, std::span<const int32_t> codes);

}  // namespace ptq
