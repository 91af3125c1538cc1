// Ranges of axes, forwards and backwards, as strided views: ai.onnx Slice.
#include <algorithm>
#include <numeric>

#include "arguments.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct SliceArguments {
  Shape starts;
  Shape ends;
  Shape axes;   ///< empty: the first ones
  Shape steps;  ///< empty: all 1
};

/// The elements first, first + step … of an axis of `length`, bounds clamped as the spec says.
struct IndexRange {
  int64_t first;
  int64_t count;
};

IndexRange ClampRange(int64_t start, int64_t end, int64_t step, int64_t length) {
  if (step == 0) throw InputError("Slice: a step is 0");
  start = start < 0 ? start + length : start;
  end = end < 0 ? end + length : end;
  if (step > 0) {
    start = std::clamp<int64_t>(start, 0, length);
    end = std::clamp<int64_t>(end, 0, length);
    return {start, end > start ? (end - start - 1) / step + 1 : 0};
  }
  // Unlike in NumPy, a start before the first element means the first element.
  if (length == 0) return {0, 0};
  start = std::clamp<int64_t>(start, 0, length - 1);
  end = std::clamp<int64_t>(end, -1, length - 1);
  // Divided as negative numbers: -step overflows for the smallest integer.
  return {start, end < start ? (end - start + 1) / step + 1 : 0};
}

Tensor Sliced(const Tensor& data, SliceArguments arguments) {
  const size_t count = arguments.starts.size();
  if (arguments.axes.empty()) {
    arguments.axes.resize(count);
    std::iota(arguments.axes.begin(), arguments.axes.end(), 0);
  }
  if (arguments.steps.empty()) arguments.steps.assign(count, 1);
  if (arguments.ends.size() != count || arguments.axes.size() != count ||
      arguments.steps.size() != count) {
    throw InputError("Slice: starts, ends, axes and steps differ in length");
  }
  arguments.axes = NormalizeAxes(std::move(arguments.axes), data.rank());
  StridedView view{data.shape(), RowMajorStrides(data.shape()), 0};
  for (size_t i = 0; i < count; ++i) {
    const auto axis = size_t(arguments.axes[i]);
    const IndexRange range =
        ClampRange(arguments.starts[i], arguments.ends[i], arguments.steps[i], data.shape()[axis]);
    view.shape[axis] = range.count;
    view.offset += range.first * view.strides[axis];
    // With one element or none no step is taken, and a huge one must not overflow.
    if (range.count > 1) view.strides[axis] *= arguments.steps[i];
  }
  const bool whole = view.shape == data.shape() && view.offset == 0;
  return whole ? data : Materialize(data, view);
}

}  // namespace

/// ai.onnx Slice, opset 1 to 9: bounds by attribute.
std::unique_ptr<Kernel> MakeSliceByAttributes(const Node& node) {
  const SliceArguments arguments{node.Ints("starts"), node.Ints("ends"), node.Ints("axes"), {}};
  return MakeKernel([arguments](KernelContext& context) {
    const Tensor data = context.TakeInput(0);
    context.set_output(0, Sliced(data, arguments));
  });
}

/// ai.onnx Slice, opset 10 and later: bounds by input.
std::unique_ptr<Kernel> MakeSlice(const Node&) {
  return MakeKernel([](KernelContext& context) {
    SliceArguments arguments{context.input(1).ToInt64s(), context.input(2).ToInt64s(),
                             InputOrAttribute(context, 3, {}), InputOrAttribute(context, 4, {})};
    const Tensor data = context.TakeInput(0);
    context.set_output(0, Sliced(data, std::move(arguments)));
  });
}

}  // namespace ptq
