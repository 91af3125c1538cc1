// The bias that makes up for the mean of a linear's error.
#pragma once

#include <span>
#include <vector>

#include "ptq/quant/method.h"

namespace ptq {

/// mean(W x) − mean(Ŵ x̂) over the tokens, [N], where Ŵ = Q diag(s)⁻¹ (Nagel et al. 2019, arXiv
/// 1906.04721, §4.2). `s` may be empty; `problem` has its sums. Zeros where that is not finite.
[[nodiscard]] std::vector<float> BiasFor(const SiteProblem& problem, const MatrixRows& w,
                                         const QuantizedMatrix& q, std::span<const float> s);

}  // namespace ptq
