// Moves symmetric codes and their zero points to the middle of the stored range.
#include "ptq/emit/stored_codes.h"

namespace ptq {

QuantizedMatrix AsStored(QuantizedMatrix q) {
  const int mid = q.spec.mid();
  q.spec = AsStored(q.spec);
  const int shift = q.spec.symmetric ? q.spec.mid() - mid : 0;
  if (shift == 0) return q;
  for (uint8_t& code : q.codes) code = static_cast<uint8_t>(code + shift);
  for (uint8_t& zero_point : q.zero_points) zero_point = static_cast<uint8_t>(zero_point + shift);
  return q;
}

}  // namespace ptq
