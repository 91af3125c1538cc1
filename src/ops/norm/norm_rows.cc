// Normalises tiles of rows, and brings scales and biases that broadcast into their form.
#include "norm_rows.h"

#include <cmath>

#include "array.h"
#include "strided.h"

namespace ptq {

NormParameter ReadNormParameter(const Tensor& parameter, const Shape& shape, int64_t axis) {
  const Shape tail(shape.begin() + axis, shape.end());
  const auto fits = [&](const Shape& target) {
    if (parameter.shape().size() > target.size()) return false;
    const size_t lead = target.size() - parameter.shape().size();
    for (size_t d = 0; d < parameter.shape().size(); ++d) {
      if (parameter.shape()[d] != 1 && parameter.shape()[d] != target[lead + d]) return false;
    }
    return true;
  };
  const auto expand = [&](const Shape& target) {
    if (parameter.size() == NumElements(target)) return parameter.Reshaped(target);
    return Materialize(parameter, {target, BroadcastStrides(parameter.shape(), target)});
  };
  const int64_t width = NumElements(tail);
  // Exporters also write [1, …, 1, width]; leading ones change nothing.
  if (parameter.size() == width && parameter.rank() > 0 && !tail.empty() &&
      (parameter.dim(-1) == tail.back() || tail.size() == 1)) {
    return {parameter.Reshaped(tail), 0};
  }
  if (fits(tail)) return {expand(tail), 0};
  if (fits(shape)) return {expand(shape), width};
  throw InputError("scale or bias of shape " + ToString(parameter.shape()) +
                   " does not broadcast to " + ToString(tail));
}

void NormalizeRows(const NormSpec& spec, const float* from, int64_t rows, int64_t width,
                   const NormParameter& scale, const NormParameter& bias, float* to, float* mean,
                   float* deviation) {
  if (rows == 0 || width == 0) return;
  const float* gamma = scale.values.data<float>().data();
  const float* beta = bias.values.defined() ? bias.values.data<float>().data() : nullptr;
  const float count = static_cast<float>(width);
  const int64_t grain = std::max<int64_t>(1, kElementTile / width);
  ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const ConstArrayMap<float> x(from + row * width, width);
      ArrayMap<float> y(to + row * width, width);
      const ConstArrayMap<float> g(gamma + row * scale.row_stride, width);
      const float center = spec.centered ? x.sum() / count : 0.0f;
      const float variance = (x - center).square().sum() / count;
      const float factor = 1.0f / std::sqrt(variance + spec.epsilon);
      if (beta != nullptr) {
        y = (x - center) * factor * g + ConstArrayMap<float>(beta + row * bias.row_stride, width);
      } else {
        y = (x - center) * factor * g;
      }
      if (mean != nullptr) mean[row] = center;
      if (deviation != nullptr) deviation[row] = factor;
    }
  });
}

}  // namespace ptq
