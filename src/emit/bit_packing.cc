// Packs 8 and 4 bits straight, other widths through a register of pending bits.
#include "bit_packing.h"

#include <algorithm>

#include "ptq/base/simd.h"

namespace ptq {

namespace {

/// Two codes a byte, the first in the lower half.
PTQ_VECTOR_CLONES void PackPairs(const uint8_t* codes, size_t pairs, std::byte* out) {
  for (size_t i = 0; i < pairs; ++i) {
    out[i] = static_cast<std::byte>(codes[2 * i] | codes[2 * i + 1] << 4);
  }
}

}  // namespace

void PackBits(std::span<const uint8_t> codes, int bits, std::byte* out) {
  const auto count = static_cast<int64_t>(codes.size());
  if (bits == 8) {
    std::transform(codes.begin(), codes.end(), out, [](uint8_t code) { return std::byte{code}; });
    return;
  }
  if (bits == 4 && count % 2 == 0) {
    PackPairs(codes.data(), codes.size() / 2, out);
    return;
  }
  std::fill_n(out, PackedBytes(count, bits), std::byte{0});
  unsigned pending = 0;  // bits not yet written, the oldest lowest
  int held = 0;
  for (const uint8_t code : codes) {
    pending |= static_cast<unsigned>(code) << held;
    held += bits;
    while (held >= 8) {
      *out++ = static_cast<std::byte>(pending & 0xff);
      pending >>= 8;
      held -= 8;
    }
  }
  if (held > 0) *out = static_cast<std::byte>(pending);
}

}  // namespace ptq
