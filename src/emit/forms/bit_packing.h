// Packs codes of 1 to 8 bits into bytes, lowest bits first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ptq/quant/spec.h"
#include "ptq/tensor/dtype.h"

namespace ptq {

/// Bytes of `count` codes: ceil(count · bits / 8).
[[nodiscard]] constexpr int64_t PackedBytes(int64_t count, int bits) {
  return (count * bits + 7) / 8;
}

/// Writes `codes` as one little-endian bit stream: code i occupies the bits [i·bits, (i+1)·bits) of
/// `out`, counted from the lowest bit of the first byte. `out` holds PackedBytes(codes.size(),
/// bits) bytes; the bits behind the last code become 0.
void PackBits(std::span<const uint8_t> codes, int bits, std::byte* out);

/// Codes as the elements of a tensor of integers with the specification's bits: unsigned ones, or
/// signed ones where it is symmetric. Those count from their middle: two's complement of
/// (code − 2^(bits−1)) is the code with its highest bit flipped.
[[nodiscard]] std::vector<std::byte> PackIntegers(std::vector<uint8_t> codes,
                                                  const QuantSpec& spec);
/// The type of these elements.
[[nodiscard]] DType IntegerType(const QuantSpec& spec);

/// Reads `values[n, columns]` as [columns, n].
template <class T>
std::vector<T> Transposed(const std::vector<T>& values, int64_t n, int64_t columns) {
  constexpr int64_t kTile = 64;
  std::vector<T> result(values.size());
  for (int64_t row0 = 0; row0 < n; row0 += kTile) {
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = row0; row < std::min(n, row0 + kTile); ++row) {
        result[static_cast<size_t>(column * n + row)] =
            values[static_cast<size_t>(row * columns + column)];
      }
    }
  }
  return result;
}

}  // namespace ptq
