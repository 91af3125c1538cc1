// Finds a node's kernel by domain, type and opset; advises what to do where there is none.
#include "ptq/ops/kernel.h"

#include <string_view>
#include <unordered_map>

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
  static const auto kByType = [] {
    std::unordered_map<std::string_view, std::vector<const KernelEntry*>> by_type;
    for (const KernelEntry& entry : KernelEntries()) by_type[entry.op_type].push_back(&entry);
    return by_type;
  }();
  const auto entries = kByType.find(node.op_type());
  if (entries == kByType.end()) return nullptr;
  const std::string domain = node.domain();
  for (const KernelEntry* entry : entries->second) {
    const bool covered = node.opset() >= entry->since && node.opset() <= entry->until;
    if (covered && entry->domain == domain) return entry;
  }
  return nullptr;
}

/// Operators that will not be run here, and what to do about it.
struct Refusal {
  std::string_view domain;
  std::string_view op_type;
  std::string_view advice;
};

constexpr std::string_view kLoop =
    "it holds a whole generation loop: quantize the decoder that is inside it, as a model of its "
    "own";
constexpr std::string_view kCudaOnly =
    "it exists on GPUs alone: export or optimise the model for the CPU";
constexpr std::string_view kText = "it works on text: cut it off the model, and give token ids";

constexpr Refusal kRefusals[] = {
    {"com.microsoft", "BeamSearch", kLoop},
    {"com.microsoft", "GreedySearch", kLoop},
    {"com.microsoft", "Sampling", kLoop},
    {"com.microsoft", "WhisperBeamSearch", kLoop},
    {"com.microsoft", "Tokenizer", kText},
    {"com.microsoft", "WordConvEmbedding", kText},
    {"com.microsoft", "PackedAttention", kCudaOnly},
    {"com.microsoft", "PackedMultiHeadAttention", kCudaOnly},
    {"com.microsoft", "PagedAttention", kCudaOnly},
    {"com.microsoft", "RemovePadding", kCudaOnly},
    {"com.microsoft", "RestorePadding", kCudaOnly},
    {"com.microsoft", "LongformerAttention", kCudaOnly},
    {"com.microsoft", "DecoderAttention", kCudaOnly},
    {"com.microsoft", "DecoderMaskedSelfAttention", kCudaOnly},
    {"com.microsoft", "GatedDeltaNet", kCudaOnly},
    {"com.microsoft", "VarlenCausalConvWithState", kCudaOnly},
    {"com.microsoft", "GemmFloat8", kCudaOnly},
    {"com.microsoft", "QOrderedAttention", kCudaOnly},
    {"com.microsoft", "QOrderedMatMul", kCudaOnly},
    {"com.microsoft", "EPContext",
     "the model is compiled for one device: use the one it was made of"},
};

/// What to do about an operator without a kernel.
std::string AdviceOn(const Node& node) {
  const std::string domain = node.domain();
  for (const KernelEntry& entry : KernelEntries()) {
    if (entry.op_type != node.op_type() || entry.domain != domain) continue;
    return node.opset() < entry.since
               ? "it is from opset " + std::to_string(entry.since) + " on: export the model again"
               : "it is up to opset " + std::to_string(entry.until);
  }
  if (domain == "com.ms.internal.nhwc") {
    return "ONNX Runtime makes it for devices that want channels last: use the model as it was";
  }
  for (const Refusal& refusal : kRefusals) {
    if (refusal.domain == domain && refusal.op_type == node.op_type())
      return std::string(refusal.advice);
  }
  return "docs/supported-operators.md lists those that are";
}

/// The entry's kernel; an error about the node's attributes names the node.
std::unique_ptr<Kernel> MakeNamed(const KernelEntry& entry, const Node& node) {
  const auto named = [&](const std::string& what) {
    const bool is = what.starts_with("node '");
    return is ? what : "node '" + node.name() + "' (" + node.op_type() + "): " + what;
  };
  try {
    return entry.make(node);
  } catch (const InputError& error) {
    throw InputError(named(error.what()));
  } catch (const UnsupportedError& error) {
    throw UnsupportedError(named(error.what()));
  }
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
                           "::" + node.proto().op_type() + " (opset " +
                           std::to_string(node.opset()) + ") is not supported; " + AdviceOn(node));
  }
  return MakeNamed(*entry, node);
}

bool HasKernel(const Node& node) { return FindEntry(node) != nullptr; }

}  // namespace ptq
