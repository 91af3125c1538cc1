// How a quantized linear is written into a graph: the operator, its packing and its rules.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"
#include "ptq/quant/form.h"
#include "ptq/quant/spec.h"
#include "ptq/tensor/activation_levels.h"
#include "ptq/tensor/dtype.h"
#include "ptq/transform/tensor_sink.h"

namespace ptq {

struct CodeForm;
struct Recipe;

/// Names of an activation's codes (or of the floats that these mean), scale and zero point.
struct RoundedInput {
  std::string codes;
  std::string scale;
  std::string zero_point;
};

/// The activations that earlier linears of a graph have had rounded, by what they read and the
/// levels; siblings share one rounding.
using RoundedInputs = std::map<std::string, RoundedInput>;

/// The com.microsoft Attention that a projection was taken out of.
struct PackedAttention {
  const onnx::NodeProto* packed;  ///< as the source has it
  int node;                       ///< of the graph: what gives its result
  std::string bias;               ///< [N] behind the projection, as the graph has it now, or ""
};

/// One quantized linear to be written.
struct LinearToEmit {
  std::string name;       ///< base of the new tensors' names; with equal codes the first's
  std::string input;      ///< activation [..., K]
  std::string output;     ///< the replaced node's output [..., N]
  std::string bias;       ///< name of a constant [N]; empty for none
  std::string node_name;  ///< of the replaced node
  DType type;             ///< of activations and scales: float32, float16, bfloat16
  const QuantizedMatrix* q;
  int accuracy_level = 4;
  std::string own_name = {};  ///< instead of `name`, for tensors that no other node may read
  Activations activations = Activations::kFloat;
  ActivationLevels levels = {};      ///< where the activations are static
  bool is_matrix = false;            ///< the activation has two dimensions for sure
  RoundedInputs* rounded = nullptr;  ///< of nodes that stand where this one can see them
  std::optional<PackedAttention> attention = {};  ///< where it is the projection of one
  bool own_bias = false;                          ///< `bias` is what EmitAddend gives
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

/// Where codes of a row are.
struct ExpertRow {
  const QuantizedMatrix* matrix;
  int64_t row;
};
/// One of the two products of all experts, W[N, K] each, with one specification of codes.
struct ExpertStack {
  int64_t experts = 0;
  int64_t n = 0;
  int64_t k = 0;
  QuantSpec spec;
  std::function<ExpertRow(int64_t expert, int64_t row)> row;
};
/// All experts of a MoE node. The stacks are read while the nodes are made.
struct ExpertsToEmit {
  const onnx::NodeProto* node;  ///< com.microsoft MoE
  DType type;                   ///< of activations and scales
  ExpertStack up;               ///< first products
  ExpertStack down;             ///< second ones
};

/// Constants that are added to a product, as a form writes them.
struct EmittedAddend {
  std::vector<onnx::NodeProto> nodes;  ///< the last gives them; none: they stay as they are
  std::vector<float> values;           ///< what they have become
};

class TableForm;

/// A form of codes, and what writes it.
class LinearForm : public Form {
 public:
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  /// The form of tables beside linears of this one.
  [[nodiscard]] virtual const TableForm& tables() const = 0;
  /// Raises opset imports and the IR version as far as the form needs. Throws UnsupportedError
  /// where that would change the meaning of the model's other nodes, naming one of them. `specs`
  /// are those of the linears that will be written.
  virtual void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec> specs) const = 0;
  /// The opset of the standard operators that the model is upgraded to behind PrepareModel, and
  /// what needs it; 0 for none. `specs` as there.
  [[nodiscard]] virtual std::pair<int64_t, std::string> OpsetNeeded(
      std::span<const QuantSpec> /*specs*/) const {
    return {};
  }
  /// The constants [N] that are added to the linear's product, as the form would rather have them.
  /// `addend` is empty in a draft, which takes them for such that the form can have.
  [[nodiscard]] virtual EmittedAddend EmitAddend(const LinearToEmit& /*linear*/,
                                                 std::span<const float> /*addend*/,
                                                 TensorSink& /*sink*/) const {
    return {};
  }
  /// The nodes that replace the linear; or the attention of which it is a part, when the last of
  /// them gives what that gives. Scales must be finite in the linear's type.
  [[nodiscard]] virtual std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                          TensorSink& sink) const = 0;
  /// The nodes that replace a Gather of matrices.
  [[nodiscard]] virtual std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                               TensorSink& sink) const = 0;
  /// The nodes that replace a MoE. Throws InternalError in a form that refuses experts.
  [[nodiscard]] virtual std::vector<onnx::NodeProto> EmitExperts(const ExpertsToEmit& experts,
                                                                 TensorSink& sink) const;
};

/// The explicit list of forms that linears may have (forms.inc).
[[nodiscard]] std::span<const LinearForm* const> LinearForms();
/// The same for plans.
[[nodiscard]] std::span<const CodeForm> CodeForms();
/// What writes a form of codes. Throws InternalError for one that nobody writes.
[[nodiscard]] const LinearForm& WriterOf(const Form& form);
/// Throws UsageError that lists the names.
[[nodiscard]] const LinearForm& FindLinearForm(std::string_view name);
/// Throws UsageError for bits and groups, of the recipe or of one of its rules, that no tensor can
/// have in the form that they are for.
void CheckForms(const Recipe& recipe);

}  // namespace ptq
