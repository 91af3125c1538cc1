// Operators that keep the elements and change or tell the shape.
#include <algorithm>

#include "arguments.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// The value of -1 in a Reshape: what is left of the elements. With no elements at all any value
/// fits; then dimensions of 0 are left out on both sides, as a zero-length past expects.
int64_t InferDimension(const Shape& from, const Shape& to) {
  int64_t known = 1;
  for (const int64_t dim : to) known *= dim == -1 ? 1 : dim;
  const int64_t size = NumElements(from);
  if (known != 0) return size % known == 0 ? size / known : -1;
  if (size != 0) return -1;
  int64_t from_nonzero = 1;
  for (const int64_t dim : from) from_nonzero *= dim == 0 ? 1 : dim;
  int64_t to_nonzero = 1;
  for (const int64_t dim : to) to_nonzero *= dim <= 0 ? 1 : dim;
  return from_nonzero % to_nonzero == 0 ? from_nonzero / to_nonzero : 0;
}

Shape ReshapedTo(const Shape& from, Shape to, bool allow_zero) {
  int64_t inferred = -1;
  const Shape asked = to;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i] == 0 && !allow_zero) {
      if (i >= from.size()) {
        throw InputError("Reshape: dimension " + std::to_string(i) + " of " + ToString(asked) +
                         " copies one that " + ToString(from) + " does not have");
      }
      to[i] = from[i];
    } else if (to[i] == -1 && inferred < 0) {
      inferred = static_cast<int64_t>(i);
    } else if (to[i] < 0) {
      throw InputError("Reshape: the shape " + ToString(asked) + " is not valid");
    }
  }
  if (inferred >= 0) to[static_cast<size_t>(inferred)] = InferDimension(from, to);
  if (std::ranges::count(to, -1) > 0 || NumElements(to) != NumElements(from)) {
    throw InputError("cannot reshape " + ToString(from) + " to " + ToString(asked));
  }
  return to;
}

}  // namespace

/// ai.onnx Reshape (opset 5 and later: the shape is an input).
std::unique_ptr<Kernel> MakeReshape(const Node& node) {
  const bool allow_zero = node.Int("allowzero", 0) != 0;
  return MakeKernel([allow_zero](KernelContext& context) {
    Shape to = context.input(1).ToInt64s();
    const Tensor data = context.TakeInput(0);
    context.set_output(0, data.Reshaped(ReshapedTo(data.shape(), std::move(to), allow_zero)));
  });
}

/// ai.onnx Flatten: two dimensions, cut before `axis`, which may also be the rank.
std::unique_ptr<Kernel> MakeFlatten(const Node& node) {
  const int64_t axis = node.Int("axis", 1);
  return MakeKernel([axis](KernelContext& context) {
    const Tensor data = context.TakeInput(0);
    const int64_t rank = data.rank();
    const int64_t cut = axis == rank             ? rank
                        : rank == 0 && axis == 0 ? 0
                                                 : NormalizeAxis(axis, rank);
    context.set_output(0, data.Reshaped({NumElements(data.shape(), 0, cut),
                                         NumElements(data.shape(), cut, rank)}));
  });
}

/// ai.onnx Squeeze: axes by attribute before opset 13, by input since; none given: every axis of 1.
std::unique_ptr<Kernel> MakeSqueeze(const Node& node) {
  return MakeKernel([attribute = node.Ints("axes")](KernelContext& context) {
    auto axes = InputOrAttribute(context, 1, attribute);
    const Tensor data = context.TakeInput(0);
    axes = NormalizeAxes(std::move(axes), data.rank());
    Shape shape;
    for (int64_t i = 0; i < data.rank(); ++i) {
      const bool listed = std::ranges::find(axes, i) != axes.end();
      if (listed && data.dim(i) != 1) {
        throw InputError("Squeeze: axis " + std::to_string(i) + " of " + ToString(data.shape()) +
                         " is not 1");
      }
      if (!(listed || (axes.empty() && data.dim(i) == 1))) shape.push_back(data.dim(i));
    }
    context.set_output(0, data.Reshaped(std::move(shape)));
  });
}

/// ai.onnx Unsqueeze: axes of the result, by attribute before opset 13, by input since.
std::unique_ptr<Kernel> MakeUnsqueeze(const Node& node) {
  return MakeKernel([attribute = node.Ints("axes")](KernelContext& context) {
    auto axes = InputOrAttribute(context, 1, attribute);
    const Tensor data = context.TakeInput(0);
    const int64_t rank = data.rank() + static_cast<int64_t>(axes.size());
    axes = NormalizeAxes(std::move(axes), rank);
    std::ranges::sort(axes);
    if (std::ranges::adjacent_find(axes) != axes.end()) {
      throw InputError("Unsqueeze: an axis is listed twice in " + ToString(axes));
    }
    Shape shape = data.shape();
    for (const int64_t axis : axes) shape.insert(shape.begin() + axis, 1);
    context.set_output(0, data.Reshaped(std::move(shape)));
  });
}

/// ai.onnx Shape; since opset 15 with `start` and `end`, clamped to the rank.
std::unique_ptr<Kernel> MakeShape(const Node& node) {
  const int64_t first = node.Int("start", 0);
  const int64_t last = node.Int("end", kAnyOpset);
  return MakeKernel([first, last](KernelContext& context) {
    const Shape& shape = context.input(0).shape();
    const auto rank = static_cast<int64_t>(shape.size());
    const auto clamp = [rank](int64_t axis) {
      return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank);
    };
    const int64_t begin = clamp(first);
    const int64_t count = std::max<int64_t>(0, clamp(last) - begin);
    context.set_output(
        0, Tensor::From<int64_t>({count}, std::span(shape).subspan(static_cast<size_t>(begin),
                                                                   static_cast<size_t>(count))));
  });
}

/// ai.onnx Size.
std::unique_ptr<Kernel> MakeSize(const Node&) {
  return MakeKernel([](KernelContext& context) {
    context.set_output(0, Tensor::Scalar<int64_t>(context.input(0).size()));
  });
}

}  // namespace ptq
