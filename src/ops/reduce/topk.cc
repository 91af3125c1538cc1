// The k largest or smallest elements along an axis, NaN last: ai.onnx TopK.
#include <algorithm>
#include <numeric>

#include "arguments.h"
#include "array.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// The k best of `length` elements that lie `stride` apart, best first; of equals the first.
template <class T>
void SelectBest(const T* values, int64_t length, int64_t stride, int64_t k, bool largest,
                Shape& order) {
  order.resize(static_cast<size_t>(length));
  std::iota(order.begin(), order.end(), 0);
  const auto better = [=](int64_t a, int64_t b) {
    const T x = values[a * stride];
    const T y = values[b * stride];
    if (x != x || y != y) return x == x ? true : (y == y ? false : a < b);  // NaN comes last
    if (x != y) return largest ? x > y : x < y;
    return a < b;
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), better);
}

void TopK(KernelContext& context, int64_t k, int64_t axis, bool largest) {
  const Tensor& data = context.input(0);
  axis = NormalizeAxis(axis, data.rank());
  const int64_t length = data.dim(axis);
  if (k < 0 || k > length) {
    throw InputError("TopK: " + std::to_string(k) + " of " + std::to_string(length) + " elements");
  }
  Shape shape = data.shape();
  shape[static_cast<size_t>(axis)] = k;
  Tensor best(data.dtype(), shape);
  Tensor places(DType::kInt64, shape);
  const int64_t outer = NumElements(shape, 0, axis);
  const int64_t inner = NumElements(shape, axis + 1, data.rank());
  int64_t* at = places.mutable_data<int64_t>().data();
  VisitNumber(data.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = data.data<T>().data();
    T* to = best.mutable_data<T>().data();
    const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, length));
    ParallelForTiles(outer * inner, grain, [&](int64_t begin, int64_t end) {
      Shape order;
      for (int64_t line = begin; line < end; ++line) {
        const T* values = from + line / inner * length * inner + line % inner;
        const int64_t out = line / inner * k * inner + line % inner;
        SelectBest(values, length, inner, k, largest, order);
        for (int64_t i = 0; i < k; ++i) {
          const int64_t chosen = order[static_cast<size_t>(i)];
          to[out + i * inner] = values[chosen * inner];
          at[out + i * inner] = chosen;
        }
      }
    });
  });
  context.set_output(0, std::move(best));
  context.set_output(1, std::move(places));
}

}  // namespace

/// ai.onnx TopK: k by attribute before opset 10, by input since. Always sorted: `sorted = 0` allows
/// any order.
std::unique_ptr<Kernel> MakeTopK(const Node& node) {
  const int64_t k = node.Int("k", -1);
  const int64_t axis = node.Int("axis", -1);
  const bool largest = node.Int("largest", 1) != 0;
  return MakeKernel([=](KernelContext& context) {
    TopK(context, context.has_input(1) ? ScalarInput(context, 1) : k, axis, largest);
  });
}

}  // namespace ptq
