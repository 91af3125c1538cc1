// Pooling over windows and over whole planes.
#include <algorithm>
#include <cmath>
#include <limits>

#include "array.h"
#include "window.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// The part of a window along one axis that lies in the image: from, from + step … below `to`.
struct Reach {
  int64_t from;
  int64_t to;
  int64_t step;
  int64_t counted;  ///< places up to the end of the padding: what count_include_pad divides by
};

Reach ReachOf(const WindowAxis& axis, int64_t place) {
  const int64_t start = place * axis.stride - axis.pad_begin;
  const int64_t end = start + axis.Span();
  // A window of ceil_mode may stick out of the padding; that part never counts.
  const int64_t padded_end = std::min(end, axis.input + axis.pad_end);
  const int64_t skipped = start < 0 ? (-start + axis.dilation - 1) / axis.dilation : 0;
  return {start + skipped * axis.dilation, std::min(end, axis.input), axis.dilation,
          (padded_end - start + axis.dilation - 1) / axis.dilation};
}

/// Calls visit(offset) for each image element in a window, row-major.
template <class Visitor>
void ForEachInReach(const std::vector<Reach>& reach, const std::vector<int64_t>& strides,
                    size_t axis, int64_t base, Visitor& visit) {
  const Reach& r = reach[axis];
  for (int64_t i = r.from; i < r.to; i += r.step) {
    if (axis + 1 == reach.size()) {
      visit(base + i);
    } else {
      ForEachInReach(reach, strides, axis + 1, base + i * strides[axis], visit);
    }
  }
}

/// Calls body(plane, out, reach, strides) for every output of every plane.
template <class Body>
void ForEachWindow(const Window& window, int64_t planes, const Body& body) {
  const int64_t outputs = NumElements(OutputShape(window));
  const auto strides = RowMajorStrides(InputShape(window));
  const int64_t work = std::max<int64_t>(1, outputs * NumElements(KernelShape(window)));
  ParallelForTiles(planes, std::max<int64_t>(1, kElementTile / work),
                   [&](int64_t begin, int64_t end) {
                     std::vector<Reach> reach(window.size());
                     for (int64_t plane = begin; plane < end; ++plane) {
                       for (int64_t out = 0; out < outputs; ++out) {
                         int64_t rest = out;
                         for (size_t i = window.size(); i-- > 0;) {
                           reach[i] = ReachOf(window[i], rest % window[i].output);
                           rest /= window[i].output;
                         }
                         body(plane, out, reach, strides);
                       }
                     }
                   });
}

Shape PooledShape(const Tensor& x, const Window& window) {
  Shape shape{x.dim(0), x.dim(1)};
  for (const WindowAxis& axis : window) shape.push_back(axis.output);
  return shape;
}

/// The same element's offset when the first spatial axis runs fastest (storage_order 1).
int64_t ColumnMajor(int64_t offset, const Window& window) {
  int64_t total = 1;
  for (const WindowAxis& axis : window) total *= axis.input;
  int64_t result = 0;
  for (size_t i = window.size(); i-- > 0;) {
    total /= window[i].input;
    result += offset % window[i].input * total;
    offset /= window[i].input;
  }
  return result;
}

template <class T>
T Lowest() {
  if constexpr (std::is_floating_point_v<T>) return -std::numeric_limits<T>::infinity();
  return std::numeric_limits<T>::lowest();
}

void MaxPool(KernelContext& context, const WindowAttributes& attributes, bool column_major) {
  const Tensor& x = context.input(0);
  const Window window = ResolveWindow(attributes, SpatialShape(x.shape()), attributes.kernel_shape);
  const Shape shape = PooledShape(x, window);
  const int64_t in_size = NumElements(InputShape(window));
  const int64_t out_size = NumElements(OutputShape(window));
  Tensor best(x.dtype(), shape);
  Tensor places(DType::kInt64, context.wants(1) ? shape : Shape{0});
  int64_t* at = context.wants(1) ? places.mutable_data<int64_t>().data() : nullptr;
  VisitTypes<float, int8_t, uint8_t>(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = x.data<T>().data();
    T* to = best.mutable_data<T>().data();
    ForEachWindow(window, x.dim(0) * x.dim(1),
                  [&](int64_t plane, int64_t out, const auto& reach, const auto& strides) {
                    T largest = Lowest<T>();
                    int64_t place = -1;
                    const T* image = from + plane * in_size;
                    auto visit = [&](int64_t offset) {
                      if (place >= 0 && !(image[offset] > largest)) return;
                      largest = image[offset];
                      place = offset;
                    };
                    ForEachInReach(reach, strides, 0, 0, visit);
                    to[plane * out_size + out] = largest;
                    if (at == nullptr) return;
                    at[plane * out_size + out] =
                        plane * in_size +
                        (column_major && place >= 0 ? ColumnMajor(place, window) : place);
                  });
  });
  context.set_output(0, std::move(best));
  if (at != nullptr) context.set_output(1, std::move(places));
}

/// One number for each window: finish(sum of term(x) over its elements, their count, the reach).
template <class Term, class Finish>
void PoolSums(KernelContext& context, const WindowAttributes& attributes, const Term& term,
              const Finish& finish) {
  const Tensor& x = context.input(0);
  const Window window = ResolveWindow(attributes, SpatialShape(x.shape()), attributes.kernel_shape);
  const int64_t in_size = NumElements(InputShape(window));
  const int64_t out_size = NumElements(OutputShape(window));
  Tensor result(DType::kFloat32, PooledShape(x, window));
  const float* from = x.data<float>().data();
  float* to = result.mutable_data<float>().data();
  ForEachWindow(window, x.dim(0) * x.dim(1),
                [&](int64_t plane, int64_t out, const auto& reach, const auto& strides) {
                  double sum = 0;
                  int64_t count = 0;
                  auto visit = [&](int64_t offset) {
                    sum += term(from[plane * in_size + offset]);
                    ++count;
                  };
                  ForEachInReach(reach, strides, 0, 0, visit);
                  to[plane * out_size + out] = finish(sum, count, reach);
                });
  context.set_output(0, std::move(result));
}

void AveragePool(KernelContext& context, const WindowAttributes& attributes, bool include_pad) {
  const auto mean = [include_pad](double sum, int64_t count, const auto& reach) {
    if (include_pad) {
      count = 1;
      for (const Reach& r : reach) count *= r.counted;
    }
    return count == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(count));
  };
  PoolSums(
      context, attributes, [](float x) { return double{x}; }, mean);
}

/// (Σ |x|^p)^(1 / p)
float PowerNorm(double sum, int64_t p) {
  return static_cast<float>(p == 1   ? sum
                            : p == 2 ? std::sqrt(sum)
                                     : std::pow(sum, 1.0 / double(p)));
}

double PowerOf(float x, int64_t p) {
  const double size = std::abs(double{x});
  return p == 1 ? size : p == 2 ? size * size : std::pow(size, double(p));
}

void LpPool(KernelContext& context, const WindowAttributes& attributes, int64_t p) {
  PoolSums(
      context, attributes, [p](float x) { return PowerOf(x, p); },
      [p](double sum, int64_t, const auto&) { return PowerNorm(sum, p); });
}

/// One value per plane.
template <class Reduce>
void GlobalPool(KernelContext& context, const Reduce& reduce) {
  const Tensor& x = context.input(0);
  const int64_t size = NumElements(SpatialShape(x.shape()));
  Shape shape(static_cast<size_t>(x.rank()), 1);
  shape[0] = x.dim(0);
  shape[1] = x.dim(1);
  if (size == 0) throw InputError("a global pool over no elements");
  Tensor result(DType::kFloat32, shape);
  const float* from = x.data<float>().data();
  float* to = result.mutable_data<float>().data();
  ParallelForTiles(result.size(), std::max<int64_t>(1, kElementTile / size),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       to[i] = reduce(ConstArrayMap<float>(from + i * size, size));
                     }
                   });
  context.set_output(0, std::move(result));
}

}  // namespace

/// ai.onnx MaxPool, with the places of the maxima as second output.
std::unique_ptr<Kernel> MakeMaxPool(const Node& node) {
  const WindowAttributes attributes(node);
  const bool column_major = node.Int("storage_order", 0) != 0;
  return MakeKernel([=](KernelContext& context) { MaxPool(context, attributes, column_major); });
}

/// ai.onnx AveragePool.
std::unique_ptr<Kernel> MakeAveragePool(const Node& node) {
  const WindowAttributes attributes(node);
  const bool include_pad = node.Int("count_include_pad", 0) != 0;
  return MakeKernel([=](KernelContext& context) { AveragePool(context, attributes, include_pad); });
}

/// ai.onnx LpPool.
std::unique_ptr<Kernel> MakeLpPool(const Node& node) {
  const WindowAttributes attributes(node);
  const int64_t p = node.Int("p", 2);
  return MakeKernel([=](KernelContext& context) { LpPool(context, attributes, p); });
}

/// ai.onnx GlobalLpPool.
std::unique_ptr<Kernel> MakeGlobalLpPool(const Node& node) {
  return MakeKernel([p = node.Int("p", 2)](KernelContext& context) {
    GlobalPool(context, [p](const auto& plane) {
      double sum = 0;
      for (const float value : plane) sum += PowerOf(value, p);
      return PowerNorm(sum, p);
    });
  });
}

/// ai.onnx GlobalAveragePool.
std::unique_ptr<Kernel> MakeGlobalAveragePool(const Node&) {
  return MakeKernel([](KernelContext& context) {
    GlobalPool(context, [](const auto& plane) { return plane.mean(); });
  });
}

/// ai.onnx GlobalMaxPool.
std::unique_ptr<Kernel> MakeGlobalMaxPool(const Node&) {
  return MakeKernel([](KernelContext& context) {
    GlobalPool(context, [](const auto& plane) { return plane.maxCoeff(); });
  });
}

}  // namespace ptq
