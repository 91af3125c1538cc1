#include "bit_packing.h"

#include <algorithm>

namespace ptq {

void PackBits(std::span<const uint8_t> codes, int bits, std::byte* out) {
  const auto count = static_cast<int64_t>(codes.size());
  if (bits == 8) {
    std::transform(codes.begin(), codes.end(), out, [](uint8_t code) { return std::byte{code}; });
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
