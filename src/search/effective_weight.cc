// Makes rows of a weight from its codes, and lays them out as the graph's constant.
#include "effective_weight.h"

#include <algorithm>

#include "ptq/base/parallel.h"
#include "ptq/tensor/transpose.h"

namespace ptq {
namespace {

/// Rows that one task copies.
constexpr int64_t kRowTile = 64;

}  // namespace

const float* EffectiveWeight::Rows(int64_t begin, int64_t end, std::vector<float>& buffer) const {
  const int64_t k = q_->k;
  if (int64_t(buffer.size()) < (end - begin) * k) buffer.resize(size_t((end - begin) * k));
  q_->DequantizeRows(begin, end, buffer.data());
  if (scale_ == nullptr) return buffer.data();
  for (int64_t r = 0; r < end - begin; ++r) {
    for (int64_t j = 0; j < k; ++j) buffer[size_t(r * k + j)] /= (*scale_)[size_t(j)];
  }
  return buffer.data();
}

Tensor EffectiveWeight::Whole() const {
  const int64_t n = q_->n / experts_;
  const int64_t k = q_->k;
  Shape shape = operand_is_nk_ ? Shape{n, k} : Shape{k, n};
  if (is_stack_) shape.insert(shape.begin(), experts_);
  Tensor operand(DType::kFloat32, shape);
  for (int64_t e = 0; e < experts_; ++e) {
    float* to = operand.mutable_data<float>().data() + e * n * k;
    ParallelForTiles(n, kRowTile, [&](int64_t begin, int64_t end) {
      std::vector<float> buffer;
      const float* rows = Rows(e * n + begin, e * n + end, buffer);
      if (operand_is_nk_) {
        std::copy_n(rows, (end - begin) * k, to + begin * k);
      } else {
        TransposePart(rows, k, end - begin, k, to + begin, n);
      }
    });
  }
  return operand;
}

}  // namespace ptq
