#include "ptq/ops/kernel.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

class FunctionKernel : public Kernel {
 public:
  explicit FunctionKernel(KernelFunction function) : function_(std::move(function)) {}
  void Run(KernelContext& context) const override { function_(context); }

 private:
  const KernelFunction function_;
};

const KernelEntry* FindEntry(const Node& node) {
  const std::string domain = node.domain();
  for (const KernelEntry& entry : KernelEntries()) {
    if (entry.op_type == node.op_type() && entry.domain == domain && node.opset() >= entry.since &&
        node.opset() <= entry.until) {
      return &entry;
    }
  }
  return nullptr;
}

}  // namespace

const Tensor& KernelContext::input(size_t i) const {
  if (!has_input(i)) throw InputError("input " + std::to_string(i) + " is missing");
  return inputs_[i];
}

Tensor KernelContext::TakeInput(size_t i) {
  if (!has_input(i)) throw InputError("input " + std::to_string(i) + " is missing");
  return std::move(inputs_[i]);
}

void KernelContext::set_output(size_t i, Tensor value) {
  if (i < outputs_.size()) outputs_[i] = std::move(value);
}

std::unique_ptr<Kernel> MakeKernel(KernelFunction function) {
  return std::make_unique<FunctionKernel>(std::move(function));
}

std::unique_ptr<Kernel> CreateKernel(const Node& node) {
  const KernelEntry* entry = FindEntry(node);
  if (entry == nullptr) {
    const std::string domain = node.domain().empty() ? "ai.onnx" : node.domain();
    throw UnsupportedError("node '" + node.name() + "': operator " + domain +
                           "::" + node.op_type() + " (opset " + std::to_string(node.opset()) +
                           ") is not supported; docs/supported-operators.md lists those that are");
  }
  return entry->make(node);
}

bool HasKernel(const Node& node) { return FindEntry(node) != nullptr; }

}  // namespace ptq
