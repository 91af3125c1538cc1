// Columns of blocks summed up to images, which undoes the unfolding of windows: ai.onnx Col2Im.
#include "array.h"
#include "spatial/window.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

void Col2Im(KernelContext& context, const WindowAttributes& attributes) {
  const Tensor& x = context.input(0);
  const Shape image = context.input(1).ToInt64s(), block = context.input(2).ToInt64s();
  const Window window = ResolveWindow(attributes, image, block);
  const int64_t taps = NumElements(block), places = NumElements(OutputShape(window));
  if (x.rank() != 3 || taps == 0 || x.dim(1) % taps != 0 || x.dim(2) != places) {
    throw InputError("Col2Im: columns of shape " + ToString(x.shape()) + " for images " +
                     ToString(image) + " in blocks of " + ToString(block));
  }
  Shape shape{x.dim(0), x.dim(1) / taps};
  shape.insert(shape.end(), image.begin(), image.end());
  Tensor out = Tensor::Filled(shape, 0.0f);
  const float* from = x.data<float>().data();
  float* to = out.mutable_data<float>().data();
  ParallelFor(shape[0] * shape[1], [&](int64_t plane) {
    AddColumns(from + plane * taps * places, window, 0, places, to + plane * NumElements(image));
  });
  context.set_output(0, std::move(out));
}

}  // namespace

/// ai.onnx Col2Im: columns [N, C · block, L], image shape, block shape -> [N, C, image …].
std::unique_ptr<Kernel> MakeCol2Im(const Node& node) {
  return MakeKernel([attributes = WindowAttributes(node)](KernelContext& context) {
    Col2Im(context, attributes);
  });
}

}  // namespace ptq
