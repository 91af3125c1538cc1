// A quantized weight in the place of the one that it comes from.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Q(W·diag(s))·diag(s)⁻¹, from the codes.
class EffectiveWeight : public DeferredWeight {
 public:
  /// `scale`: s[K], or null.
  EffectiveWeight(std::shared_ptr<const QuantizedMatrix> q,
                  std::shared_ptr<const std::vector<float>> scale, const Linear& linear)
      : q_(std::move(q)),
        scale_(std::move(scale)),
        operand_is_nk_(linear.operand_is_nk),
        experts_(linear.experts),
        is_stack_(linear.gather >= 0) {}

  [[nodiscard]] int64_t n() const override { return q_->n; }
  [[nodiscard]] int64_t k() const override { return q_->k; }
  [[nodiscard]] const float* Rows(int64_t begin, int64_t end,
                                  std::vector<float>& buffer) const override;
  [[nodiscard]] Tensor Whole() const override;

 private:
  std::shared_ptr<const QuantizedMatrix> q_;
  std::shared_ptr<const std::vector<float>> scale_;
  bool operand_is_nk_;
  int64_t experts_;
  bool is_stack_;
};

}  // namespace ptq
