// What a tensor of weights becomes in the file: the facts that a plan needs. What writes a form
// derives from it (emit/linear_form.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ptq/quant/spec.h"
#include "ptq/tensor/dtype.h"

namespace ptq {

/// What a node does with the tensor.
enum class SubjectKind {
  kLinear,    ///< multiplies activations
  kStack,     ///< some of its matrices are gathered for each token, and multiply it
  kExpert,    ///< one of a node's matrices, each of which multiplies the tokens of one expert
  kTable,     ///< some of its rows are gathered
  kConstant,  ///< anything else
};

/// What is known of a tensor before its form is chosen, seen as W[N, K].
struct TensorFacts {
  SubjectKind kind = SubjectKind::kLinear;
  int64_t n = 0;
  int64_t k = 0;
  int64_t experts = 1;   ///< matrices of a stack, one above the other in W
  bool swapped = false;  ///< the graph takes [K, N] (of a stack: [experts, K, N / experts])
  DType stored = DType::kFloat32;   ///< in the source
  DType compute = DType::kFloat32;  ///< of the activations
  int64_t opset = 0;                ///< of ai.onnx in the source
  bool tied = false;                ///< linears read the codes of this table, too
  bool fits_half = true;  ///< no element is beyond the range of FP16; asked where it matters
};

/// How a form has the activations rounded that its linears multiply.
enum class Activations {
  kFloat,    ///< not at all
  kDynamic,  ///< to 256 levels between the least and the largest value of each run
  kStatic,   ///< to levels that are found beforehand
};

/// "float", "uint8 dynamic", "uint8 static", "uint16 static".
[[nodiscard]] std::string_view ActivationsName(Activations activations, int bits);

/// An accuracy level of MatMulNBits that calibration chooses: 4, but 0 where 4 costs most.
inline constexpr int kChosenLevel = -1;

/// What a form leaves open.
struct FormParameters {
  QuantSpec spec;                                 ///< of codes
  int accuracy_level = 4;                         ///< of MatMulNBits, or kChosenLevel
  Activations activations = Activations::kFloat;  ///< of forms that leave it open
  int activation_bits = 8;                        ///< of rounded activations

  /// The level as long as none is chosen.
  [[nodiscard]] int FirstLevel() const {
    return accuracy_level == kChosenLevel ? 4 : accuracy_level;
  }
};

/// What the file holds instead of the source's elements.
enum class Storage { kCodes, kHalf, kAsIs };

/// Immutable, one object for each form.
class Form {
 public:
  Form() = default;
  Form(const Form&) = delete;
  Form& operator=(const Form&) = delete;
  virtual ~Form() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual Storage storage() const = 0;
  /// Throws UsageError for bits or groups that no tensor can have in this form. Specifications
  /// reach a form as the file holds them (stored_codes.h).
  virtual void CheckSpec(const QuantSpec& /*spec*/) const {}
  /// What the form would rather have than a specification that it could have, or not: it may have
  /// groups of its own.
  [[nodiscard]] virtual QuantSpec Preferred(const QuantSpec& spec) const { return spec; }
  /// What codes of this form stand for; null: uniform levels. Specifications of its codes have it.
  [[nodiscard]] virtual const Levels* codebook() const { return nullptr; }
  /// Whether what is stored in this form can be read in the other one, too.
  [[nodiscard]] virtual bool Serves(const Form& /*other*/) const { return false; }
  [[nodiscard]] virtual Activations activations(const FormParameters& /*parameters*/) const {
    return Activations::kFloat;
  }
  /// Whether its products have FormParameters::accuracy_level.
  [[nodiscard]] virtual bool HasAccuracyLevels() const { return false; }
  /// Channels of the activations that runtimes round together while they multiply a linear's codes,
  /// without the file saying so; 0: none are rounded.
  [[nodiscard]] virtual int64_t RoundedBlock(const FormParameters& /*parameters*/,
                                             int64_t /*k*/) const {
    return 0;
  }
  /// Why the tensor cannot have this form, for people; empty when it can.
  [[nodiscard]] virtual std::string Refusal(const TensorFacts& tensor,
                                            const FormParameters& parameters) const = 0;
  /// The forms, by name, that a tensor takes instead when this one refuses it: the first of them
  /// that does not. One that all refuse keeps the source's elements.
  [[nodiscard]] virtual std::span<const std::string_view> Fallbacks() const { return {}; }
  /// The form, by name, that experts of this one change to where the graph is seen to compute what
  /// a node for all of them does: those of a stack from which some are gathered, and all of a form
  /// that names itself. Empty: none.
  [[nodiscard]] virtual std::string_view ForMixtures() const { return {}; }
  /// What the file holds for it, in bytes: codes, scales, zero points.
  [[nodiscard]] virtual int64_t Bytes(const TensorFacts& tensor,
                                      const FormParameters& parameters) const = 0;
  /// What it holds more for each further node that reads the same tensor.
  [[nodiscard]] virtual int64_t BytesAgain(const TensorFacts& /*tensor*/,
                                           const FormParameters& /*parameters*/) const {
    return 0;
  }
};

/// The source's own elements. Any tensor can stay.
[[nodiscard]] const Form& KeepForm();
/// FP16, where the source has FP32 within its range.
[[nodiscard]] const Form& HalfForm();
/// Codes that no file holds: for plans that are not written, of any specification.
[[nodiscard]] const Form& UnwrittenCodes();

}  // namespace ptq
