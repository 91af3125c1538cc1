// How a quantized linear is written into a graph: the operator, its packing and its rules.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"
#include "ptq/tensor/dtype.h"

namespace ptq {

/// Takes finished tensors; returns the name under which the graph knows them.
class TensorSink {
 public:
  virtual ~TensorSink() = default;
  virtual std::string Add(const std::string& name, DType dtype, const Shape& shape,
                          std::span<const std::byte> bytes) = 0;
};

/// One quantized linear to be written.
struct LinearToEmit {
  std::string name;       ///< base of the new tensors' names
  std::string input;      ///< activation [..., K]
  std::string output;     ///< the replaced node's output [..., N]
  std::string bias;       ///< name of a constant [N]; empty for none
  std::string node_name;  ///< of the replaced node
  DType type;             ///< of activations and scales: float32, float16, bfloat16
  const QuantizedMatrix* q;
  int accuracy_level = 4;
};

/// A stack of quantized matrices, of which the graph gathers some by index.
struct StackToEmit {
  std::string name;       ///< base of the new tensors' names
  std::string indices;    ///< what the Gather reads
  std::string output;     ///< its output: matrices [N / experts, K], or [K, N / experts]
  std::string node_name;  ///< of the Gather
  DType type;             ///< of the output: float32, float16, bfloat16
  const QuantizedMatrix* q;
  int64_t experts = 1;
  bool swapped = false;  ///< the output holds [K, N / experts]
};

class LinearFormat {
 public:
  virtual ~LinearFormat() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Throws UsageError for bits or group sizes that the format (or the runtime) cannot hold. Specs
  /// and matrices reach a format as the file holds them (stored_codes.h).
  virtual void CheckSpec(const QuantSpec& spec) const = 0;
  /// Throws UnsupportedError for a weight [N, K] that the runtime would compute wrongly in this
  /// format.
  virtual void CheckLinear(const Linear& /*linear*/) const {}
  /// The spec as this format stores it: group_size 0 ("channel") may become blocks that repeat the
  /// row's scale. The weight itself is still quantized with the requested spec, and that is what
  /// Emit takes; it does the repeating.
  [[nodiscard]] virtual QuantSpec Adapt(const QuantSpec& spec) const { return spec; }
  /// Raises opset imports and the IR version as far as the format needs. Throws UnsupportedError
  /// where that would change the meaning of the model's other nodes, naming one of them. `specs`
  /// are those of the linears that will be written.
  virtual void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec> specs) const = 0;
  /// The nodes that replace the linear. Scales must be finite in the linear's type.
  [[nodiscard]] virtual std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                          TensorSink& sink) const = 0;
  /// The nodes that replace a Gather of matrices. Throws UnsupportedError when K or the group size
  /// does not allow it.
  [[nodiscard]] virtual std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                               TensorSink& sink) const = 0;
};

/// The single explicit list of formats (formats.cc).
[[nodiscard]] std::span<const LinearFormat* const> LinearFormats();
/// Throws UsageError that lists the names.
[[nodiscard]] const LinearFormat& FindLinearFormat(std::string_view name);

}  // namespace ptq
