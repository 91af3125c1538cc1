// QuantizeLinear and DequantizeLinear: per tensor, per axis and in blocks.
#include <cmath>
#include <vector>

#include "array.h"
#include "elementwise/float8.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

/// How the scales of a tensor [outer, axis, inner] are laid out.
struct Layout {
  int64_t outer = 1;
  int64_t axis = 1;
  int64_t inner = 1;
  int64_t block = 1;         ///< elements along the axis that share a scale
  int64_t outer_stride = 0;  ///< in the scales, for one step in each direction
  int64_t block_stride = 0;
  int64_t inner_stride = 0;
  int64_t scales = 1;  ///< how many there must be
};

Layout ReadLayout(const Shape& shape, const Tensor& scale, int64_t axis_attribute,
                  int64_t block_size) {
  Layout layout;
  const auto rank = static_cast<int64_t>(shape.size());
  if (scale.rank() == 0 || (scale.rank() == 1 && scale.size() == 1 && block_size == 0)) {
    // One scale is every element's, also when an axis is named.
    layout.inner = NumElements(shape);
    return layout;
  }
  const int64_t axis = NormalizeAxis(axis_attribute, rank);
  layout.outer = NumElements(shape, 0, axis);
  layout.axis = shape[static_cast<size_t>(axis)];
  layout.inner = NumElements(shape, axis + 1, rank);
  Shape expected = {layout.axis};
  layout.scales = layout.axis;
  layout.block_stride = 1;
  if (block_size > 0) {
    expected = shape;
    const int64_t blocks = (layout.axis + block_size - 1) / block_size;
    expected[static_cast<size_t>(axis)] = blocks;
    layout.block = block_size;
    layout.inner_stride = 1;
    layout.block_stride = layout.inner;
    layout.outer_stride = blocks * layout.inner;
    layout.scales = NumElements(expected);
  }
  if (scale.shape() != expected) {
    throw InputError("scale has shape " + ToString(scale.shape()) + ", expected " +
                     ToString(expected));
  }
  if (block_size == 0 && layout.inner == 1) {
    // The last axis: whole rows, each element with a scale of its own.
    std::swap(layout.inner, layout.axis);
    layout.inner_stride = 1;
    layout.block_stride = 0;
  }
  return layout;
}

std::vector<int32_t> ReadZeroPoints(const KernelContext& context, const Layout& layout) {
  if (!context.has_input(2)) return {};
  const Tensor& zeros = context.input(2);
  if (zeros.size() != layout.scales) {
    throw InputError("zero point has shape " + ToString(zeros.shape()) + ", the scale has " +
                     ToString(context.input(1).shape()));
  }
  if (IsFloat8(zeros.dtype())) {
    const Tensor values = FromFloat8(zeros);
    for (const float zero : values.data<float>()) {
      if (zero != 0) throw UnsupportedError("a zero point of 8-bit floats that is not 0");
    }
    return {};
  }
  return UnpackIntegers(zeros, 0, zeros.size());
}

/// Calls body(begin, count, first scale, stride of the scales) for runs of elements, in parallel.
template <class Body>
void ForEachRun(const Layout& layout, const Body& body) {
  const int64_t rows = layout.outer * layout.axis;
  if (rows == 1) {
    ParallelForTiles(layout.inner, kElementTile, [&](int64_t begin, int64_t end) {
      body(begin, end - begin, begin * layout.inner_stride, layout.inner_stride);
    });
    return;
  }
  const bool last = layout.inner == 1;
  // With nothing inside the axis, a run is what shares a scale; else one row of the inner part.
  const int64_t step = last ? layout.block : 1;
  const int64_t steps = (layout.axis + step - 1) / step;
  const int64_t run = last ? layout.block : layout.inner;
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, run));
  ParallelForTiles(layout.outer * steps, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t outer = i / steps;
      const int64_t along = i % steps * step;
      const int64_t count = last ? std::min(step, layout.axis - along) : layout.inner;
      body((outer * layout.axis + along) * layout.inner, count,
           outer * layout.outer_stride + along / layout.block * layout.block_stride,
           last ? 0 : layout.inner_stride);
    }
  });
}

template <class T>
void DequantizeRun(const T* x, int64_t count, const float* scale, const int32_t* zero,
                   int64_t stride, float* y) {
  if (stride == 0) {
    const T* const from = x;
    const float factor = *scale;
    const int32_t center = zero != nullptr ? *zero : 0;
    for (int64_t i = 0; i < count; ++i) {
      y[i] = static_cast<float>(static_cast<int32_t>(from[i]) - center) * factor;
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    y[i] =
        static_cast<float>(static_cast<int32_t>(x[i]) - (zero != nullptr ? zero[i] : 0)) * scale[i];
  }
}

/// x[i] · scale or x[i] / scale, for values that are floats already.
template <class Function>
Tensor Scaled(const Tensor& x, const Layout& layout, const float* scale, const Function& function) {
  Tensor out(DType::kFloat32, x.shape());
  const float* from = x.data<float>().data();
  float* to = out.mutable_data<float>().data();
  ForEachRun(layout, [&](int64_t begin, int64_t count, int64_t first, int64_t stride) {
    for (int64_t i = 0; i < count; ++i) {
      to[begin + i] = function(from[begin + i], scale[first + i * stride]);
    }
  });
  return out;
}

void Dequantize(KernelContext& context, int64_t axis, int64_t block_size) {
  const Tensor& x = context.input(0);
  const Layout layout = ReadLayout(x.shape(), context.input(1), axis, block_size);
  const std::vector<int32_t> zeros = ReadZeroPoints(context, layout);
  const float* scale = context.input(1).data<float>().data();
  const int32_t* zero = zeros.empty() ? nullptr : zeros.data();
  if (IsFloat8(x.dtype())) {
    const auto times = [](float value, float factor) { return value * factor; };
    context.set_output(0, Scaled(FromFloat8(x), layout, scale, times));
    return;
  }
  Tensor out(DType::kFloat32, x.shape());
  float* y = out.mutable_data<float>().data();
  const auto direct = [&](const auto* from) {
    ForEachRun(layout, [&](int64_t begin, int64_t count, int64_t first, int64_t stride) {
      DequantizeRun(from + begin, count, scale + first, zero != nullptr ? zero + first : nullptr,
                    stride, y + begin);
    });
  };
  switch (x.dtype()) {
    case DType::kInt8: direct(x.data<int8_t>().data()); break;
    case DType::kUint8: direct(x.data<uint8_t>().data()); break;
    default:
      ForEachRun(layout, [&](int64_t begin, int64_t count, int64_t first, int64_t stride) {
        const std::vector<int32_t> codes = UnpackIntegers(x, begin, count);
        DequantizeRun(codes.data(), count, scale + first, zero != nullptr ? zero + first : nullptr,
                      stride, y + begin);
      });
  }
  context.set_output(0, std::move(out));
}

struct QuantizeAttributes {
  int64_t axis;
  int64_t block_size;
  DType output_type;  ///< kUndefined: that of the zero point
  bool saturate;      ///< of 8-bit floats
};

void Quantize(KernelContext& context, const QuantizeAttributes& attributes) {
  const Tensor& input = context.input(0);
  const Tensor x = input.dtype() == DType::kInt32 ? input.Cast(DType::kFloat32) : input;
  const Layout layout =
      ReadLayout(x.shape(), context.input(1), attributes.axis, attributes.block_size);
  const std::vector<int32_t> zeros = ReadZeroPoints(context, layout);
  const float* from = x.data<float>().data();
  const float* scale = context.input(1).data<float>().data();
  DType dtype =
      attributes.output_type == DType::kUndefined ? DType::kUint8 : attributes.output_type;
  if (context.has_input(2)) dtype = context.input(2).dtype();
  if (IsFloat8(dtype)) {
    const auto over = [](float value, float factor) { return value / factor; };
    context.set_output(0, ToFloat8(Scaled(x, layout, scale, over), dtype, attributes.saturate));
    return;
  }
  const IntegerRange range = RangeOf(dtype);
  if (BitsOf(dtype) > 16) throw InputError("QuantizeLinear has no 32-bit form");
  const auto lowest = static_cast<float>(range.lowest);
  const auto highest = static_cast<float>(range.highest);
  std::vector<int32_t> codes(static_cast<size_t>(x.size()));
  ForEachRun(layout, [&](int64_t begin, int64_t count, int64_t first, int64_t stride) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = first + i * stride;
      const float zero = zeros.empty() ? 0.0f : static_cast<float>(zeros[static_cast<size_t>(at)]);
      // nearbyint rounds halves to even, as the specification asks; NaN becomes the lowest code.
      const float code = std::nearbyint(from[begin + i] / scale[at]) + zero;
      const float clamped = code > lowest ? std::min(code, highest) : lowest;
      codes[static_cast<size_t>(begin + i)] = static_cast<int32_t>(clamped);
    }
  });
  context.set_output(0, PackIntegers(dtype, x.shape(), codes));
}

}  // namespace

/// DequantizeLinear of ai.onnx and com.microsoft: x, scale, zero point? -> (x - zero point) ·
/// scale.
std::unique_ptr<Kernel> MakeDequantizeLinear(const Node& node) {
  const int64_t axis = node.Int("axis", 1);
  const int64_t block_size = node.Int("block_size", 0);
  return MakeKernel([=](KernelContext& context) { Dequantize(context, axis, block_size); });
}

/// QuantizeLinear of ai.onnx and com.microsoft: x, scale, zero point? ->
/// saturate(round(x / scale) + zero point).
std::unique_ptr<Kernel> MakeQuantizeLinear(const Node& node) {
  const QuantizeAttributes attributes{node.Int("axis", 1), node.Int("block_size", 0),
                                      static_cast<DType>(node.Int("output_dtype", 0)),
                                      node.Int("saturate", 1) != 0};
  return MakeKernel([attributes](KernelContext& context) { Quantize(context, attributes); });
}

}  // namespace ptq
