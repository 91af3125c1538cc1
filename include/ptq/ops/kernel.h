// What an operator is here: a kernel made once from a node, and run on tensors.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ptq/model/node.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Inputs and outputs of one execution of a kernel. Every float tensor is float32 here, whatever
/// the model's type; integers and bool keep theirs.
class KernelContext {
 public:
  KernelContext(std::vector<Tensor> inputs, size_t outputs, std::vector<bool> wanted)
      : inputs_(std::move(inputs)), outputs_(outputs), wanted_(std::move(wanted)) {}

  [[nodiscard]] size_t input_count() const { return inputs_.size(); }
  [[nodiscard]] bool has_input(size_t i) const {
    return i < inputs_.size() && inputs_[i].defined();
  }
  /// Throws InputError when the input is absent.
  [[nodiscard]] const Tensor& input(size_t i) const;
  /// Moves an input out. When the graph needs it no more, its memory may be written in place
  /// (Tensor::mutable_data copies otherwise, so this is always safe).
  [[nodiscard]] Tensor TakeInput(size_t i);
  [[nodiscard]] size_t output_count() const { return outputs_.size(); }
  /// Whether anybody uses output i.
  [[nodiscard]] bool wants(size_t i) const { return i < wanted_.size() && wanted_[i]; }
  void set_output(size_t i, Tensor value);
  [[nodiscard]] std::vector<Tensor>& outputs() { return outputs_; }

 private:
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  std::vector<bool> wanted_;
};

/// Attributes are parsed once, in the constructor; Run is const and may be called from several
/// threads at once. Throws InputError for shapes that the specification forbids, UnsupportedError
/// for a form this build cannot run; the executor adds the node's name.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void Run(KernelContext& context) const = 0;
};

using KernelFunction = std::function<void(KernelContext&)>;

/// A kernel without a class of its own.
[[nodiscard]] std::unique_ptr<Kernel> MakeKernel(KernelFunction function);

/// One line of the registry: an operator over a range of opset versions of its domain.
struct KernelEntry {
  std::string_view domain;  ///< "" is ai.onnx
  std::string_view op_type;
  int64_t since;  ///< first opset version this entry serves
  int64_t until;  ///< last one; kAnyOpset for no end
  std::unique_ptr<Kernel> (*make)(const Node& node);
};

inline constexpr int64_t kAnyOpset = 1 << 20;

/// The explicit list of every operator (kernels.cc), sorted by nothing: first match wins.
[[nodiscard]] std::span<const KernelEntry> KernelEntries();

/// Kernel of a node. Throws UnsupportedError that names node, operator and opset.
[[nodiscard]] std::unique_ptr<Kernel> CreateKernel(const Node& node);
/// Whether the operator is among the entries; its attributes may still be of a kind that is not.
[[nodiscard]] bool HasKernel(const Node& node);

}  // namespace ptq
