// Between [N, C, …] and [N, …, C].
#pragma once

#include <numeric>
#include <vector>

#include "strided.h"

namespace ptq {

/// [N, …, C] as [N, C, …].
[[nodiscard]] inline Tensor ChannelsFirst(const Tensor& x) {
  Shape perm(static_cast<size_t>(x.rank()));
  std::iota(perm.begin(), perm.end(), -1);
  perm[0] = 0;
  if (perm.size() > 1) perm[1] = x.rank() - 1;
  return TransposeAxes(x, perm);
}

/// [N, C, …] as [N, …, C].
[[nodiscard]] inline Tensor ChannelsLast(const Tensor& x) {
  Shape perm(static_cast<size_t>(x.rank()));
  std::iota(perm.begin(), perm.end(), 1);
  perm[0] = 0;
  if (perm.size() > 1) perm.back() = 1;
  return TransposeAxes(x, perm);
}

}  // namespace ptq
