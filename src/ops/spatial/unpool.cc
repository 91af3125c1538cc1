// Values put back where a pooling took them from: ai.onnx MaxUnpool.
#include <algorithm>
#include <cstring>

#include "arguments.h"
#include "array.h"
#include "movement/indices.h"
#include "strided.h"
#include "window.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// The shape whose pooling gives `pooled`.
Shape Unpooled(const WindowAttributes& attributes, const Shape& pooled) {
  const size_t rank = pooled.size() - 2;
  const auto fits = [](const Shape& values, size_t count) {
    return values.empty() || values.size() == count;
  };
  if (attributes.kernel_shape.size() != rank || !fits(attributes.strides, rank) ||
      !fits(attributes.pads, 2 * rank)) {
    throw InputError("MaxUnpool: kernel_shape, strides or pads do not fit " + ToString(pooled));
  }
  Shape shape = pooled;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t stride = attributes.strides.empty() ? 1 : attributes.strides[i];
    const int64_t pads =
        attributes.pads.empty() ? 0 : attributes.pads[i] + attributes.pads[rank + i];
    shape[i + 2] = (pooled[i + 2] - 1) * stride - pads + attributes.kernel_shape[i];
  }
  return shape;
}

void MaxUnpool(KernelContext& context, const WindowAttributes& attributes) {
  const Tensor& x = context.input(0);
  static_cast<void>(SpatialShape(x.shape()));
  Shape shape = Unpooled(attributes, x.shape());
  // Places count in the result: in the given shape, where there is one.
  if (context.has_input(2)) shape = context.input(2).ToInt64s();
  Tensor out = Tensor::Filled(shape, 0.0f);
  const auto places = NormalIndices(context.input(1), out.size());
  if (context.input(1).shape() != x.shape()) {
    throw InputError("MaxUnpool: values of shape " + ToString(x.shape()) +
                     " and indices of shape " + ToString(context.input(1).shape()));
  }
  const auto from = x.data<float>();
  const auto to = out.mutable_data<float>();
  for (size_t i = 0; i < places.size(); ++i) to[static_cast<size_t>(places[i])] = from[i];
  context.set_output(0, std::move(out));
}

}  // namespace

/// ai.onnx MaxUnpool: values, their places as MaxPool gives them, shape?.
std::unique_ptr<Kernel> MakeMaxUnpool(const Node& node) {
  return MakeKernel([attributes = WindowAttributes(node)](KernelContext& context) {
    MaxUnpool(context, attributes);
  });
}

}  // namespace ptq
