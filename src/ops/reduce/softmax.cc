// Normalised exponentials along an axis: ai.onnx Softmax, LogSoftmax, Hardmax.
#include <cmath>
#include <vector>

#include "array.h"
#include "vector_math.h"

namespace ptq {
namespace {

/// The input as [outer, count, inner], normalised along `count`.
struct AxisView {
  int64_t outer;
  int64_t count;
  int64_t inner;
};

/// Since opset 13 one axis; before, everything from `axis` on is one row.
AxisView ViewAlong(const Shape& shape, int64_t axis, bool single_axis) {
  const auto rank = static_cast<int64_t>(shape.size());
  if (rank == 0) return {1, 1, 1};
  // Before opset 13 `axis` may equal the rank: rows of one element.
  if (single_axis || axis != rank) axis = NormalizeAxis(axis, rank);
  const int64_t outer = NumElements(shape, 0, axis);
  if (!single_axis) return {outer, NumElements(shape, axis, rank), 1};
  return {outer, shape[static_cast<size_t>(axis)], NumElements(shape, axis + 1, rank)};
}

using Row = ArrayMap<float>;
using ConstRow = ConstArrayMap<float>;

void SoftmaxRow(const ConstRow& x, Row y) {
  const float largest = LargestOf(x.data(), x.size());
  y *= 1.0f / ExpDifferences(x.data(), largest, y.data(), x.size());
}

void LogSoftmaxRow(const ConstRow& x, Row y) {
  const float largest = x.maxCoeff<Eigen::PropagateNaN>();
  const float sum = ExpOf(x - largest).sum();
  y = x - (largest + std::log(sum));
}

void HardmaxRow(const ConstRow& x, Row y) {
  Eigen::Index at = 0;
  x.maxCoeff(&at);
  y.setZero();
  y[at] = 1.0f;
}

/// Rows that are not contiguous are copied out and back.
template <class RowFunction>
void RunRows(const AxisView& view, const float* from, float* to, const RowFunction& function) {
  const int64_t rows = view.outer * view.inner;
  const int64_t grain = std::max<int64_t>(1, kElementTile / view.count);
  ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> row(view.inner == 1 ? 0 : static_cast<size_t>(view.count));
    for (int64_t r = begin; r < end; ++r) {
      if (view.inner == 1) {
        function(ConstRow(from + r * view.count, view.count), Row(to + r * view.count, view.count));
        continue;
      }
      const int64_t first = (r / view.inner) * view.count * view.inner + r % view.inner;
      for (int64_t i = 0; i < view.count; ++i) row[size_t(i)] = from[first + i * view.inner];
      function(ConstRow(row.data(), view.count), Row(row.data(), view.count));
      for (int64_t i = 0; i < view.count; ++i) to[first + i * view.inner] = row[size_t(i)];
    }
  });
}

template <class RowFunction>
std::unique_ptr<Kernel> MakeAlongAxis(const Node& node, RowFunction function) {
  const bool single_axis = node.opset() >= 13;
  const int64_t axis = node.Int("axis", single_axis ? -1 : 1);
  return MakeKernel([=](KernelContext& context) {
    const Tensor& x = context.input(0);
    const Shape shape = x.shape();
    const float* from = x.data<float>().data();
    const AxisView view = ViewAlong(shape, axis, single_axis);
    Tensor out = ReuseInput(context, 0, DType::kFloat32, shape);
    float* to = out.mutable_data<float>().data();
    if (out.size() > 0) RunRows(view, from, to, function);
    context.set_output(0, std::move(out));
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeSoftmax(const Node& node) { return MakeAlongAxis(node, SoftmaxRow); }

std::unique_ptr<Kernel> MakeLogSoftmax(const Node& node) {
  return MakeAlongAxis(node, LogSoftmaxRow);
}

std::unique_ptr<Kernel> MakeHardmax(const Node& node) { return MakeAlongAxis(node, HardmaxRow); }

}  // namespace ptq
