// Convolutions that read between pixels where offsets point: ai.onnx DeformConv.
#include <algorithm>
#include <cmath>
#include <vector>

#include "array.h"
#include "window.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// A point between pixels, linearly; zero outside the image.
float Sample(const float* plane, int64_t height, int64_t width, float y, float x) {
  if (!(y > -1 && x > -1 && y < static_cast<float>(height) && x < static_cast<float>(width))) {
    return 0;
  }
  const auto top = static_cast<int64_t>(std::floor(y)), left = static_cast<int64_t>(std::floor(x));
  const float down = y - static_cast<float>(top), right = x - static_cast<float>(left);
  const auto pixel = [&](int64_t i, int64_t j) {
    return i < 0 || j < 0 || i >= height || j >= width ? 0.0f : plane[i * width + j];
  };
  return (1 - down) * ((1 - right) * pixel(top, left) + right * pixel(top, left + 1)) +
         down * ((1 - right) * pixel(top + 1, left) + right * pixel(top + 1, left + 1));
}

struct Deformation {
  const float* offsets;  ///< [groups, taps, 2, outputs] of one image, vertical first
  const float* mask;     ///< [groups, taps, outputs] or null
  int64_t channels;      ///< of a group
};

/// patches[channel · taps + tap][place] of one image.
void GatherDeformed(const float* image, int64_t channels, const Window& window,
                    const Deformation& deformation, float* patches) {
  const WindowAxis& rows = window[0];
  const WindowAxis& columns = window[1];
  const int64_t taps = rows.kernel * columns.kernel, places = rows.output * columns.output;
  ParallelFor(channels * taps, [&](int64_t row) {
    const int64_t channel = row / taps, tap = row % taps;
    const int64_t shared = channel / deformation.channels * taps + tap;
    const float* vertical = deformation.offsets + shared * 2 * places;
    const float* mask = deformation.mask == nullptr ? nullptr : deformation.mask + shared * places;
    const float* plane = image + channel * rows.input * columns.input;
    for (int64_t place = 0; place < places; ++place) {
      const int64_t y = place / columns.output * rows.stride - rows.pad_begin +
                        tap / columns.kernel * rows.dilation;
      const int64_t x = place % columns.output * columns.stride - columns.pad_begin +
                        tap % columns.kernel * columns.dilation;
      const float value =
          Sample(plane, rows.input, columns.input, static_cast<float>(y) + vertical[place],
                 static_cast<float>(x) + vertical[places + place]);
      patches[row * places + place] = mask == nullptr ? value : value * mask[place];
    }
  });
}

void CheckShapes(const KernelContext& context, const Window& window, int64_t groups,
                 int64_t offset_groups) {
  const Tensor& x = context.input(0);
  const Tensor& w = context.input(1);
  const bool grouped = groups >= 1 && offset_groups >= 1 && x.dim(1) == w.dim(1) * groups &&
                       w.dim(0) % groups == 0 && x.dim(1) % offset_groups == 0;
  const int64_t taps = NumElements(KernelShape(window));
  Shape expected{x.dim(0), offset_groups * taps, window[0].output, window[1].output};
  const bool masked = !context.has_input(4) || context.input(4).shape() == expected;
  expected[1] *= 2;
  if (!grouped || !masked || context.input(2).shape() != expected) {
    throw InputError("DeformConv: weight " + ToString(w.shape()) + ", offsets " +
                     ToString(context.input(2).shape()) + " over " + ToString(x.shape()));
  }
}

void DeformConv(KernelContext& context, const WindowAttributes& attributes, int64_t groups,
                int64_t offset_groups) {
  const Tensor& x = context.input(0);
  const Tensor& w = context.input(1);
  if (x.rank() != 4 || w.rank() != 4) throw UnsupportedError("DeformConv of other than images");
  const Window window = ResolveWindow(attributes, SpatialShape(x.shape()), SpatialShape(w.shape()));
  CheckShapes(context, window, groups, offset_groups);
  const int64_t places = NumElements(OutputShape(window)), channels = x.dim(1);
  const int64_t rows = w.dim(1) * NumElements(KernelShape(window)), outputs = w.dim(0) / groups;
  Tensor result(DType::kFloat32, {x.dim(0), w.dim(0), window[0].output, window[1].output});
  float* to = result.mutable_data<float>().data();
  std::vector<float> patches(static_cast<size_t>(groups * rows * places));
  for (int64_t image = 0; image < x.dim(0) && places > 0; ++image) {
    const auto part = [&](size_t input) {
      return context.input(input).data<float>().data() +
             image * context.input(input).size() / x.dim(0);
    };
    const Deformation deformation{part(2), context.has_input(4) ? part(4) : nullptr,
                                  channels / offset_groups};
    GatherDeformed(part(0), channels, window, deformation, patches.data());
    for (int64_t g = 0; g < groups; ++g, to += outputs * places) {
      for (int64_t c = 0; c < outputs; ++c) {
        const auto channel = static_cast<size_t>(g * outputs + c);
        const float bias = context.has_input(3) ? context.input(3).data<float>()[channel] : 0.0f;
        std::fill_n(to + c * places, places, bias);
      }
      Gemm(1.0f, {w.data<float>().data() + g * outputs * rows, outputs, rows, rows},
           {patches.data() + g * rows * places, rows, places, places}, 1.0f, to, places);
    }
  }
  context.set_output(0, std::move(result));
}

}  // namespace

/// ai.onnx DeformConv over images: X, W, offsets, bias?, mask?.
std::unique_ptr<Kernel> MakeDeformConv(const Node& node) {
  const WindowAttributes attributes(node);
  const int64_t groups = node.Int("group", 1), offset_groups = node.Int("offset_group", 1);
  return MakeKernel(
      [=](KernelContext& context) { DeformConv(context, attributes, groups, offset_groups); });
}

}  // namespace ptq
