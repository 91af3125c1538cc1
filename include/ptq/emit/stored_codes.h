// What the file holds of a specification and its codes: no runtime has a kernel for 3 or 7 bits, so
// such codes are stored in 4 and 8.
#pragma once

#include "ptq/quant/spec.h"

namespace ptq {

/// Bits that a code of `bits` takes in the file.
[[nodiscard]] constexpr int StoredBits(int bits) {
  if (bits == 3) return 4;
  return bits == 7 ? 8 : bits;
}

[[nodiscard]] inline QuantSpec AsStored(QuantSpec spec) {
  spec.bits = StoredBits(spec.bits);
  return spec;
}

/// The same weights in codes of StoredBits: symmetric codes move with their zero point, which is
/// 2^(bits-1) of the stored bits; others stay as they are.
[[nodiscard]] QuantizedMatrix AsStored(QuantizedMatrix q);

}  // namespace ptq
