#include "unary.h"

#include "ptq/base/half.h"
#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Every float type is float32 here, but an explicit cast to 16 bits rounds as the graph says.
void CastTo(KernelContext& context, DType to) {
  if (to == DType::kFloat16 && context.input(0).dtype() == DType::kFloat32) {
    return RunFloatArray(context, [](const float* x, float* y, int64_t count) {
      RoundToHalf({x, size_t(count)}, {y, size_t(count)});
    });
  }
  context.set_output(0, context.TakeInput(0).Cast(to).Widened());
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
