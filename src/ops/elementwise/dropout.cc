// Dropout that drops nothing: ai.onnx Dropout outside of training.
#include "arguments.h"

#include "ptq/ops/kernel.h"

namespace ptq {

/// ai.onnx Dropout as inference runs it: the data unchanged, and a mask that keeps everything (of
/// the data's type before opset 10, bool since).
std::unique_ptr<Kernel> MakeDropout(const Node& node) {
  const bool float_mask = node.opset() < 10;
  return MakeKernel([float_mask](KernelContext& context) {
    const bool training = context.has_input(2) && ScalarInputOf<bool>(context, 2);
    const bool drops = !context.has_input(1) || ScalarInputOf<float>(context, 1) != 0.0f;
    if (training && drops) throw UnsupportedError("Dropout in training mode");
    Tensor data = context.TakeInput(0);
    if (context.wants(1)) {
      context.set_output(
          1, float_mask ? Tensor::Filled(data.shape(), 1.0f) : Tensor::Filled(data.shape(), true));
    }
    context.set_output(0, std::move(data));
  });
}

}  // namespace ptq
