// Convolutions as matrix products: the patches that the kernel sees become the columns of a matrix.
#include <algorithm>
#include <cstring>

#include "window.h"

#include "ptq/base/parallel.h"
#include "ptq/ops/kernel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Elements of the patch matrix that one tile of the work holds at a time (4 MiB).
constexpr int64_t kPatchElements = 1 << 20;

struct ConvSizes {
  int64_t batch;
  int64_t groups;
  int64_t in_channels;   ///< per group
  int64_t out_channels;  ///< per group
  int64_t taps;          ///< elements of the kernel of one channel
  int64_t in_size;       ///< spatial elements of the input
  int64_t out_size;      ///< spatial elements of the output
};

/// patches[channel · taps + tap][column − begin] for columns [begin, end) of one group's image.
void GatherPatches(const float* image, const Window& window, const ConvSizes& sizes, int64_t begin,
                   int64_t end, float* patches) {
  const int64_t width = end - begin;
  for (int64_t channel = 0; channel < sizes.in_channels; ++channel) {
    const float* plane = image + channel * sizes.in_size;
    float* rows = patches + channel * sizes.taps * width;
    ForEachColumnRun(window, begin, end, [&](const ColumnRun& run) {
      float* out = rows + run.tap * width + run.column - begin;
      if (run.image < 0) {
        std::fill_n(out, run.count, 0.0f);
      } else if (run.step == 1) {
        std::memcpy(out, plane + run.image, static_cast<size_t>(run.count) * sizeof(float));
      } else {
        for (int64_t i = 0; i < run.count; ++i) out[i] = plane[run.image + i * run.step];
      }
    });
  }
}

/// Columns that a tile takes at once.
int64_t TileColumns(int64_t rows, int64_t columns) {
  return std::clamp<int64_t>(kPatchElements / std::max<int64_t>(1, rows), 64,
                             std::max<int64_t>(64, columns));
}

void FillWithBias(Tensor& result, const Tensor* bias, int64_t channels, int64_t plane) {
  if (bias != nullptr && bias->size() != channels) {
    throw InputError("a bias of " + std::to_string(bias->size()) + " elements for " +
                     std::to_string(channels) + " channels");
  }
  float* out = result.mutable_data<float>().data();
  const int64_t planes = plane == 0 ? 0 : result.size() / plane;
  for (int64_t i = 0; i < planes; ++i) {
    const float value =
        bias == nullptr ? 0.0f : bias->data<float>()[static_cast<size_t>(i % channels)];
    std::fill_n(out + i * plane, plane, value);
  }
}

/// Whether the patches are the image itself.
bool IsPointwise(const Window& window) {
  return std::ranges::all_of(window, [](const WindowAxis& axis) {
    return axis.kernel == 1 && axis.stride == 1 && axis.pad_begin == 0 && axis.pad_end == 0;
  });
}

void Convolve(const float* x, const float* w, const Window& window, const ConvSizes& sizes,
              float* y) {
  const int64_t rows = sizes.in_channels * sizes.taps;
  const bool pointwise = IsPointwise(window);
  const int64_t columns = pointwise ? sizes.out_size : TileColumns(rows, sizes.out_size);
  const int64_t tiles = (sizes.out_size + columns - 1) / columns;
  ParallelFor(sizes.batch * sizes.groups * tiles, [&](int64_t unit) {
    const int64_t image = unit / tiles;  // batch entry and group
    const int64_t begin = unit % tiles * columns;
    const int64_t end = std::min(sizes.out_size, begin + columns);
    const float* from = x + image * sizes.in_channels * sizes.in_size;
    float* to = y + image * sizes.out_channels * sizes.out_size + begin;
    const MatrixView weight{w + image % sizes.groups * sizes.out_channels * rows,
                            sizes.out_channels, rows, rows};
    if (pointwise) {
      Gemm(1.0f, weight, {from, rows, sizes.in_size, sizes.in_size}, 1.0f, to, sizes.out_size);
      return;
    }
    std::vector<float> patches(static_cast<size_t>(rows * (end - begin)));
    GatherPatches(from, window, sizes, begin, end, patches.data());
    Gemm(1.0f, weight, {patches.data(), rows, end - begin, end - begin}, 1.0f, to, sizes.out_size);
  });
}

void ConvolveTransposed(const float* x, const float* w, const Window& window,
                        const ConvSizes& sizes, float* y) {
  // `window` is that of the convolution whose gradient this is: its outputs are the inputs here.
  const int64_t rows = sizes.out_channels * sizes.taps;
  const int64_t columns = TileColumns(rows, sizes.in_size);
  ParallelFor(sizes.batch * sizes.groups, [&](int64_t image) {
    const float* from = x + image * sizes.in_channels * sizes.in_size;
    float* to = y + image * sizes.out_channels * sizes.out_size;
    const float* weight = w + image % sizes.groups * sizes.in_channels * rows;
    for (int64_t begin = 0; begin < sizes.in_size; begin += columns) {
      const int64_t end = std::min(sizes.in_size, begin + columns);
      const int64_t width = end - begin;
      std::vector<float> patches(static_cast<size_t>(rows * width), 0.0f);
      Gemm(1.0f, {weight, sizes.in_channels, rows, rows, true},
           {from + begin, sizes.in_channels, width, sizes.in_size}, 0.0f, patches.data(), width);
      for (int64_t channel = 0; channel < sizes.out_channels; ++channel) {
        AddColumns(patches.data() + channel * sizes.taps * width, window, begin, end,
                   to + channel * sizes.out_size);
      }
    }
  });
}

void CheckKernel(const WindowAttributes& attributes, const Shape& kernel) {
  if (!attributes.kernel_shape.empty() && attributes.kernel_shape != kernel) {
    throw InputError("kernel_shape " + ToString(attributes.kernel_shape) +
                     " differs from the weight's " + ToString(kernel));
  }
}

void Conv(KernelContext& context, const WindowAttributes& attributes, int64_t groups) {
  const Tensor& x = context.input(0);
  const Tensor& w = context.input(1);
  const Tensor* bias = context.has_input(2) ? &context.input(2) : nullptr;
  const Shape kernel = SpatialShape(w.shape());
  CheckKernel(attributes, kernel);
  const Window window = ResolveWindow(attributes, SpatialShape(x.shape()), kernel);
  if (groups < 1 || x.dim(1) != w.dim(1) * groups || w.dim(0) % groups != 0) {
    throw InputError("Conv: weight " + ToString(w.shape()) + " in " + std::to_string(groups) +
                     " groups over " + ToString(x.shape()));
  }
  const Shape out = OutputShape(window);
  const ConvSizes sizes{x.dim(0),
                        groups,
                        w.dim(1),
                        w.dim(0) / groups,
                        NumElements(kernel),
                        NumElements(InputShape(window)),
                        NumElements(out)};
  Shape shape{x.dim(0), w.dim(0)};
  shape.insert(shape.end(), out.begin(), out.end());
  Tensor result(DType::kFloat32, shape);
  FillWithBias(result, bias, w.dim(0), sizes.out_size);
  if (result.size() > 0) {
    Convolve(x.data<float>().data(), w.data<float>().data(), window, sizes,
             result.mutable_data<float>().data());
  }
  context.set_output(0, std::move(result));
}

/// What ConvTranspose has besides the common attributes.
struct TransposeAttributes {
  Shape output_padding;
  Shape output_shape;
};

/// The window of the convolution that maps the result's shape back to the input's.
Window ResolveTransposed(const WindowAttributes& attributes, const TransposeAttributes& extra,
                         const Shape& input, const Shape& kernel) {
  WindowAttributes plain = attributes;
  plain.auto_pad = "NOTSET";
  const bool same = attributes.auto_pad.starts_with("SAME");
  if (same || attributes.auto_pad == "VALID") plain.pads.clear();
  Window window = ResolveWindow(plain, input, kernel);
  const size_t rank = window.size();
  const size_t shapes = extra.output_shape.size();
  const bool fits = extra.output_padding.empty() || extra.output_padding.size() == rank;
  if (!fits || (shapes != 0 && shapes != rank && shapes != rank + 2)) {
    throw InputError("ConvTranspose: output_padding or output_shape has the wrong length");
  }
  for (size_t i = 0; i < rank; ++i) {
    WindowAxis& axis = window[i];
    const int64_t length = axis.input;
    const int64_t padding = extra.output_padding.empty() ? 0 : extra.output_padding[i];
    const int64_t full = (length - 1) * axis.stride + padding + axis.Span();
    if (shapes != 0 || same) {
      // A kernel shorter than its stride does not reach as far as SAME asks; it is not padded.
      const int64_t wanted = shapes != 0 ? extra.output_shape[shapes - rank + i]
                                         : std::min(full, length * axis.stride);
      const int64_t total = std::max<int64_t>(0, full - wanted);
      axis.pad_begin = attributes.auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      axis.pad_end = total - axis.pad_begin;
      axis.input = wanted;
    } else {
      axis.input = std::max<int64_t>(0, full - axis.pad_begin - axis.pad_end);
    }
    axis.output = length;
  }
  return window;
}

void ConvTranspose(KernelContext& context, const WindowAttributes& attributes,
                   const TransposeAttributes& extra, int64_t groups) {
  const Tensor& x = context.input(0);
  const Tensor& w = context.input(1);
  const Tensor* bias = context.has_input(2) ? &context.input(2) : nullptr;
  const Shape kernel = SpatialShape(w.shape());
  CheckKernel(attributes, kernel);
  if (groups < 1 || x.dim(1) != w.dim(0) || w.dim(0) % groups != 0) {
    throw InputError("ConvTranspose: weight " + ToString(w.shape()) + " in " +
                     std::to_string(groups) + " groups over " + ToString(x.shape()));
  }
  const Window window = ResolveTransposed(attributes, extra, SpatialShape(x.shape()), kernel);
  const Shape out = InputShape(window);
  const ConvSizes sizes{x.dim(0),
                        groups,
                        w.dim(0) / groups,
                        w.dim(1),
                        NumElements(kernel),
                        NumElements(OutputShape(window)),
                        NumElements(out)};
  Shape shape{x.dim(0), w.dim(1) * groups};
  shape.insert(shape.end(), out.begin(), out.end());
  Tensor result(DType::kFloat32, shape);
  FillWithBias(result, bias, shape[1], sizes.out_size);
  if (result.size() > 0 && x.size() > 0) {
    ConvolveTransposed(x.data<float>().data(), w.data<float>().data(), window, sizes,
                       result.mutable_data<float>().data());
  }
  context.set_output(0, std::move(result));
}

}  // namespace

/// ai.onnx Conv over one or more spatial axes.
std::unique_ptr<Kernel> MakeConv(const Node& node) {
  const WindowAttributes attributes(node);
  return MakeKernel([attributes, groups = node.Int("group", 1)](KernelContext& context) {
    Conv(context, attributes, groups);
  });
}

/// ai.onnx ConvTranspose.
std::unique_ptr<Kernel> MakeConvTranspose(const Node& node) {
  const WindowAttributes attributes(node);
  const TransposeAttributes extra{node.Ints("output_padding"), node.Ints("output_shape")};
  return MakeKernel([attributes, extra, groups = node.Int("group", 1)](KernelContext& context) {
    ConvTranspose(context, attributes, extra, groups);
  });
}

}  // namespace ptq
