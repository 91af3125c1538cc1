// Axes in another order, without a copy where no element moves: ai.onnx Transpose.
#include <algorithm>
#include <numeric>

#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Whether the axes of more than one element stay in order, so that only the shape changes.
bool KeepsOrder(const Shape& shape, const Shape& perm) {
  int64_t last = -1;
  for (const int64_t axis : perm) {
    if (shape[static_cast<size_t>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

void CheckPermutation(const Shape& perm, int64_t rank) {
  Shape sorted = perm;
  std::ranges::sort(sorted);
  Shape axes(static_cast<size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  if (sorted != axes) {
    throw InputError("Transpose: " + ToString(perm) + " is not an order of " +
                     std::to_string(rank) + " axes");
  }
}

}  // namespace

/// ai.onnx Transpose; without `perm` the axes are reversed.
std::unique_ptr<Kernel> MakeTranspose(const Node& node) {
  return MakeKernel([perm = node.Ints("perm")](KernelContext& context) {
    const Tensor data = context.TakeInput(0);
    Shape order = perm;
    if (order.empty()) {
      order.resize(static_cast<size_t>(data.rank()));
      std::iota(order.rbegin(), order.rend(), 0);
    }
    CheckPermutation(order, data.rank());
    if (data.size() == 0 || KeepsOrder(data.shape(), order)) {
      Shape shape;
      for (const int64_t axis : order) shape.push_back(data.dim(axis));
      context.set_output(0, data.Reshaped(std::move(shape)));
    } else {
      context.set_output(0, TransposeAxes(data, order));
    }
  });
}

}  // namespace ptq
