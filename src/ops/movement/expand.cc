// Operators that repeat elements: Expand and Tile.
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

Tensor Expanded(const Tensor& data, const Shape& asked) {
  const Shape shape = BroadcastShapes(data.shape(), asked);
  if (NumElements(shape) == data.size()) return data.Reshaped(shape);
  return Materialize(data, {shape, BroadcastStrides(data.shape(), shape), 0});
}

Tensor Tiled(const Tensor& data, const Shape& repeats) {
  if (static_cast<int64_t>(repeats.size()) != data.rank()) {
    throw InputError("Tile: " + std::to_string(repeats.size()) + " repeats for " +
                     std::to_string(data.rank()) + " axes");
  }
  // Each axis is read as (repeat, axis), where the repeat stays at the same place of the source.
  const auto strides = RowMajorStrides(data.shape());
  StridedView view;
  Shape shape = data.shape();
  for (size_t i = 0; i < repeats.size(); ++i) {
    view.shape.insert(view.shape.end(), {repeats[i], shape[i]});
    view.strides.insert(view.strides.end(), {0, strides[i]});
    shape[i] *= repeats[i];
  }
  if (shape == data.shape()) return data;
  return Materialize(data, view).Reshaped(shape);
}

}  // namespace

/// ai.onnx Expand: the shapes broadcast in both directions.
std::unique_ptr<Kernel> MakeExpand(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Shape asked = context.input(1).ToInt64s();
    context.set_output(0, Expanded(context.TakeInput(0), asked));
  });
}

/// ai.onnx Tile (opset 6 and later).
std::unique_ptr<Kernel> MakeTile(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const auto repeats = context.input(1).ToInt64s();
    context.set_output(0, Tiled(context.TakeInput(0), repeats));
  });
}

}  // namespace ptq
