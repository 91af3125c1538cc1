// The Cholesky factor of a large matrix, on all threads.
#pragma once

#include <cstdint>

namespace ptq {

/// A = L Lᵀ in place: `a` is row-major [k, k]; its lower triangle becomes L, the rest is neither
/// read nor kept. False when A is not positive definite (what is left is of no use then). Work is
/// cut into fixed tiles, so the result does not depend on the number of threads.
[[nodiscard]] bool Cholesky(double* a, int64_t k);

}  // namespace ptq
