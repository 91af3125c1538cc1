// Convolutions of 8-bit integers: ai.onnx ConvInteger, QLinearConv.
#include <algorithm>
#include <cmath>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "spatial/window.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

/// The codes of an image or a weight less their zero point: one for all, or one for each of the
/// parts along the first axis.
std::vector<int32_t> Centered(const Tensor& codes, const Tensor* zero_point) {
  std::vector<int32_t> values = UnpackIntegers(codes, 0, codes.size());
  if (zero_point == nullptr || values.empty()) return values;
  const std::vector<int32_t> zeros = UnpackIntegers(*zero_point, 0, zero_point->size());
  if (zeros.size() != 1 && static_cast<int64_t>(zeros.size()) != codes.dim(0)) {
    throw InputError("zero points of shape " + ToString(zero_point->shape()) + " for " +
                     ToString(codes.shape()));
  }
  const size_t part = values.size() / zeros.size();
  for (size_t i = 0; i < values.size(); ++i) values[i] -= zeros[i / part];
  return values;
}

/// The exact convolution of centered codes, [N, M, …].
Tensor Convolve(const Tensor& x, const std::vector<int32_t>& image, const Tensor& w,
                const std::vector<int32_t>& weight, const WindowAttributes& attributes,
                int64_t groups) {
  const Window window = ResolveWindow(attributes, SpatialShape(x.shape()), SpatialShape(w.shape()));
  if (groups < 1 || x.dim(1) != w.dim(1) * groups || w.dim(0) % groups != 0) {
    throw InputError("weight " + ToString(w.shape()) + " in " + std::to_string(groups) +
                     " groups over " + ToString(x.shape()));
  }
  Shape shape{x.dim(0), w.dim(0)};
  for (const WindowAxis& axis : window) shape.push_back(axis.output);
  Tensor out = Tensor::Filled(shape, int32_t{0});
  const int64_t places = NumElements(OutputShape(window)), plane = NumElements(InputShape(window));
  const int64_t taps = NumElements(KernelShape(window)), channels = w.dim(1);
  int32_t* to = out.mutable_data<int32_t>().data();
  ParallelFor(x.dim(0) * w.dim(0), [&](int64_t i) {
    const int64_t output = i % w.dim(0), group = output / (w.dim(0) / groups);
    for (int64_t c = 0; c < channels; ++c) {
      const int32_t* in = image.data() + (i / w.dim(0) * x.dim(1) + group * channels + c) * plane;
      const int32_t* factors = weight.data() + (output * channels + c) * taps;
      ForEachColumnRun(window, 0, places, [&](const ColumnRun& run) {
        if (run.image < 0) return;
        int32_t* sum = to + i * places + run.column;
        for (int64_t k = 0; k < run.count; ++k) {
          sum[k] += factors[run.tap] * in[run.image + k * run.step];
        }
      });
    }
  });
  return out;
}

void QLinearConv(KernelContext& context, const WindowAttributes& attributes, int64_t groups) {
  const Tensor& x = context.input(0);
  const Tensor& w = context.input(3);
  const Tensor sums = Convolve(x, Centered(x, &context.input(2)), w, Centered(w, &context.input(5)),
                               attributes, groups);
  const auto weight_scale = context.input(4).data<float>();
  const auto channels = static_cast<size_t>(w.dim(0));
  if ((weight_scale.size() != 1 && weight_scale.size() != channels) ||
      (context.has_input(8) && context.input(8).data<int32_t>().size() != channels)) {
    throw InputError("QLinearConv: one scale and one bias for each output channel are needed");
  }
  const float x_scale = ScalarInputOf<float>(context, 1);
  const float y_scale = ScalarInputOf<float>(context, 6);
  const Tensor& zero = context.input(7);
  const auto zero_point = static_cast<float>(UnpackIntegers(zero, 0, 1)[0]);
  const IntegerRange range = RangeOf(zero.dtype());
  Tensor codes(DType::kFloat32, sums.shape());
  const int64_t places = sums.size() == 0 ? 1 : NumElements(sums.shape(), 2, sums.rank());
  const auto from = sums.data<int32_t>();
  const auto to = codes.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) {
    const size_t c = i / static_cast<size_t>(places) % channels;
    const int32_t bias = context.has_input(8) ? context.input(8).data<int32_t>()[c] : 0;
    const float scale = x_scale * weight_scale[weight_scale.size() == 1 ? 0 : c] / y_scale;
    const float code = std::nearbyint(static_cast<float>(from[i] + bias) * scale) + zero_point;
    to[i] = std::clamp(code, static_cast<float>(range.lowest), static_cast<float>(range.highest));
  }
  context.set_output(0, codes.Cast(zero.dtype()));
}

}  // namespace

/// ai.onnx ConvInteger: x, w, zero point of x?, zero points of w? -> int32.
std::unique_ptr<Kernel> MakeConvInteger(const Node& node) {
  const WindowAttributes attributes(node);
  return MakeKernel([attributes, groups = node.Int("group", 1)](KernelContext& context) {
    const Tensor& x = context.input(0);
    const Tensor& w = context.input(1);
    context.set_output(0, Convolve(x, Centered(x, InputOrNull(context, 2)), w,
                                   Centered(w, InputOrNull(context, 3)), attributes, groups));
  });
}

/// ai.onnx QLinearConv: x, w and y each with scale and zero point, bias?.
std::unique_ptr<Kernel> MakeQLinearConv(const Node& node) {
  const WindowAttributes attributes(node);
  return MakeKernel([attributes, groups = node.Int("group", 1)](KernelContext& context) {
    QLinearConv(context, attributes, groups);
  });
}

}  // namespace ptq
