// The choice between branches that have run: ai.onnx If. (Bodies: src/runtime/iterate.cc.)
#include "arguments.h"

#include "ptq/ops/kernel.h"

namespace ptq {

/// ai.onnx If as the Graph sees it: behind its branches, the step that takes the outputs of the one
/// that ran. Inputs are the condition, the outputs of the then branch, those of the else branch.
std::unique_ptr<Kernel> MakeIf(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const size_t outputs = context.output_count();
    const size_t first = ScalarInputOf<bool>(context, 0) ? 1 : 1 + outputs;
    for (size_t i = 0; i < outputs; ++i) {
      if (context.wants(i)) context.set_output(i, context.TakeInput(first + i));
    }
  });
}

}  // namespace ptq
