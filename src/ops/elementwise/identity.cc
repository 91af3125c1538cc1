// The operator that hands its input on, and the shortest kernel: ai.onnx Identity.
#include "ptq/ops/kernel.h"

namespace ptq {

/// ai.onnx Identity.
std::unique_ptr<Kernel> MakeIdentity(const Node&) {
  return MakeKernel([](KernelContext& context) { context.set_output(0, context.TakeInput(0)); });
}

}  // namespace ptq
