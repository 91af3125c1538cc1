#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// The executor computes in float32, so every float type is float32 here and nothing is rounded.
DType ComputedType(DType dtype) { return IsFloat(dtype) ? DType::kFloat32 : dtype; }

void CastTo(KernelContext& context, DType to) {
  const Tensor input = context.TakeInput(0);
  context.set_output(0, input.Cast(ComputedType(to)));
}

}  // namespace

/// ai.onnx Cast. `saturate` and `round_mode` concern 8-bit floats only, which are not supported.
std::unique_ptr<Kernel> MakeCast(const Node& node) {
  const auto to = static_cast<DType>(node.RequiredInt("to"));
  if (to == DType::kString || BitsOf(to) < 8) {
    throw UnsupportedError("Cast to element type " + std::to_string(node.Int("to", 0)));
  }
  return MakeKernel([to](KernelContext& context) { CastTo(context, to); });
}

/// ai.onnx CastLike.
std::unique_ptr<Kernel> MakeCastLike(const Node&) {
  return MakeKernel([](KernelContext& context) { CastTo(context, context.input(1).dtype()); });
}

}  // namespace ptq
