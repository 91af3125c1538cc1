// Packs codes of 1 to 8 bits into bytes, lowest bits first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ptq {

/// Bytes of `count` codes: ceil(count · bits / 8).
[[nodiscard]] constexpr int64_t PackedBytes(int64_t count, int bits) {
  return (count * bits + 7) / 8;
}

/// Writes `codes` as one little-endian bit stream: code i occupies the bits [i·bits, (i+1)·bits) of
/// `out`, counted from the lowest bit of the first byte. `out` holds PackedBytes(codes.size(),
/// bits) bytes; the bits behind the last code become 0.
void PackBits(std::span<const uint8_t> codes, int bits, std::byte* out);

}  // namespace ptq
