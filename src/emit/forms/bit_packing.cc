// Packs 8 and 4 bits straight, other widths through a register of pending bits; flips the signs of
// signed codes.
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

std::vector<std::byte> PackIntegers(std::vector<uint8_t> codes, const QuantSpec& spec) {
  if (spec.symmetric) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(code ^ spec.mid());
  }
  std::vector<std::byte> packed(
      static_cast<size_t>(PackedBytes(static_cast<int64_t>(codes.size()), spec.bits)));
  PackBits(codes, spec.bits, packed.data());
  return packed;
}

DType IntegerType(const QuantSpec& spec) {
  switch (spec.bits) {
    case 2: return spec.symmetric ? DType::kInt2 : DType::kUint2;
    case 4: return spec.symmetric ? DType::kInt4 : DType::kUint4;
    default: return spec.symmetric ? DType::kInt8 : DType::kUint8;
  }
}

}  // namespace ptq
