// Normalisations without parameters: ai.onnx LpNormalization, MeanVarianceNormalization, LRN.
#include <algorithm>
#include <cmath>

#include "array.h"
#include "reduce/reduce_layout.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Each row along `axis` divided by its norm of order p; a row of zeros stays.
void LpNormalize(KernelContext& context, int64_t axis, int64_t p) {
  const Tensor& x = context.input(0);
  axis = NormalizeAxis(axis, x.rank());
  const int64_t count = x.dim(axis);
  const int64_t inner = NumElements(x.shape(), axis + 1, x.rank());
  Tensor out(DType::kFloat32, x.shape());
  const float* from = x.data<float>().data();
  float* to = out.mutable_data<float>().data();
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, count));
  ParallelForTiles(NumElements(x.shape(), 0, axis) * inner, grain, [&](int64_t begin, int64_t end) {
    using Stride = Eigen::InnerStride<>;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = r / inner * count * inner + r % inner;
      const Eigen::Map<const Eigen::ArrayXf, 0, Stride> row(from + first, count, Stride(inner));
      const float norm = p == 1 ? row.abs().sum() : std::sqrt(row.square().sum());
      Eigen::Map<Eigen::ArrayXf, 0, Stride>(to + first, count, Stride(inner)) =
          row / (norm == 0 ? 1.0f : norm);
    }
  });
  context.set_output(0, std::move(out));
}

/// (x - mean) / deviation, over `axes`.
void MeanVarianceNormalize(KernelContext& context, const Shape& axes) {
  const Tensor& x = context.input(0);
  ReduceLayout layout = LayOutReduction(x.shape(), axes, false, true);
  const Tensor rows = TransposeAxes(x, layout.order);
  Tensor out(DType::kFloat32, rows.shape());
  const float* from = rows.data<float>().data();
  float* to = out.mutable_data<float>().data();
  const int64_t count = layout.count;
  for (int64_t at = 0; at < rows.size(); at += count) {
    const ConstArrayMap<float> row(from + at, count);
    const float mean = row.mean();
    const float deviation = std::sqrt((row - mean).square().mean());
    // The specification adds this so that a constant row gives zeros.
    ArrayMap<float>(to + at, count) = (row - mean) / (deviation + 1e-9f);
  }
  Shape inverse(layout.order.size());
  for (size_t i = 0; i < inverse.size(); ++i) {
    inverse[static_cast<size_t>(layout.order[i])] = static_cast<int64_t>(i);
  }
  context.set_output(0, TransposeAxes(out, inverse));
}

struct LocalResponse {
  int64_t size;
  float alpha;
  float beta;
  float bias;
};

/// x / (bias + alpha / size · Σ x²)^beta, summed over `size` channels around each.
void NormalizeLocally(KernelContext& context, const LocalResponse& response) {
  const Tensor& x = context.input(0);
  if (x.rank() < 2) throw InputError("LRN: a batch and a channel dimension are expected");
  const int64_t channels = x.dim(1), plane = NumElements(x.shape(), 2, x.rank());
  Tensor out(DType::kFloat32, x.shape());
  const float* from = x.data<float>().data();
  float* to = out.mutable_data<float>().data();
  ParallelForTiles(x.dim(0) * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t channel = i % channels;
      const int64_t first = std::max<int64_t>(0, channel - (response.size - 1) / 2);
      const int64_t last = std::min(channels - 1, channel + response.size / 2);
      Eigen::ArrayXf sum = Eigen::ArrayXf::Zero(plane);
      for (int64_t c = first; c <= last; ++c) {
        sum += ConstArrayMap<float>(from + (i - channel + c) * plane, plane).square();
      }
      const float scale = response.alpha / static_cast<float>(response.size);
      ArrayMap<float>(to + i * plane, plane) = ConstArrayMap<float>(from + i * plane, plane) /
                                               (response.bias + scale * sum).pow(response.beta);
    }
  });
  context.set_output(0, std::move(out));
}

}  // namespace

/// ai.onnx LpNormalization, p = 1 or 2.
std::unique_ptr<Kernel> MakeLpNormalization(const Node& node) {
  const int64_t axis = node.Int("axis", -1);
  const int64_t p = node.Int("p", 2);
  if (p != 1 && p != 2) throw InputError("LpNormalization: p must be 1 or 2");
  return MakeKernel([axis, p](KernelContext& context) { LpNormalize(context, axis, p); });
}

/// ai.onnx MeanVarianceNormalization; by default over all but the channels of [N, C, H, W].
std::unique_ptr<Kernel> MakeMeanVarianceNormalization(const Node& node) {
  auto axes = node.Ints("axes");
  if (!node.HasAttribute("axes")) axes = {0, 2, 3};
  return MakeKernel([axes](KernelContext& context) { MeanVarianceNormalize(context, axes); });
}

/// ai.onnx LRN.
std::unique_ptr<Kernel> MakeLrn(const Node& node) {
  const LocalResponse response{node.RequiredInt("size"), node.Float("alpha", 0.0001f),
                               node.Float("beta", 0.75f), node.Float("bias", 1.0f)};
  if (response.size < 1) throw InputError("LRN: the size must be positive");
  return MakeKernel([response](KernelContext& context) { NormalizeLocally(context, response); });
}

}  // namespace ptq
