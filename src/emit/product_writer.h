// Writes the product of an activation and a quantized weight, and what is added to it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ptq/emit/linear_form.h"
#include "ptq/plan/plan.h"
#include "ptq/transform/folded_constants.h"
#include "ptq/transform/tensor_ranks.h"

namespace ptq {

/// For the products of an output graph. Changes no node itself.
class ProductWriter {
 public:
  /// All outlive this.
  ProductWriter(OutputGraph& output, const Plan& plan, const FoldedConstants& folded)
      : output_(output), plan_(plan), folded_(folded) {}

  /// A constant [N] for a node that has no bias.
  void SetOwnBias(int node, std::string name, std::vector<float> values) {
    own_biases_[node] = {std::move(name), std::move(values)};
  }

  /// What is to be known of a product by the weight of `linear`, but for the codes.
  [[nodiscard]] LinearToEmit Product(const Linear& linear, int node, ValueId bias) const;

  /// Codes of a weight, and the levels of what it is multiplied with where they are known.
  struct Factors {
    const std::string& name;  ///< base of the new tensors' names
    const QuantizedMatrix& q;
    const std::optional<ActivationLevels>& levels;
  };
  struct Written {
    std::vector<std::pair<int, std::vector<onnx::NodeProto>>> heirs;  ///< of nodes
    int64_t aside = 0;  ///< bytes that are no part of the weight's form: of what is added
    /// What the addend [N] has become too large by, in the source's coordinates; empty: nothing.
    std::vector<float> addend_error = {};
  };
  /// Equal codes are stored once.
  [[nodiscard]] Written Quantize(const Linear& linear, const Factors& factors, int node,
                                 ValueId bias);

 private:
  struct OwnBias {
    std::string name;
    std::vector<float> values;
  };
  [[nodiscard]] TensorRanks& RanksOf(int scope);
  [[nodiscard]] bool IsMatrix(int node);
  [[nodiscard]] Use AddendOf(const Linear& linear, int node, ValueId bias) const;
  struct Addend {
    std::vector<float> values;
    std::vector<float> divisor;  ///< of all changes; empty: 1
  };
  [[nodiscard]] Addend ValuesOf(const Use& addend) const;
  [[nodiscard]] onnx::NodeProto WithAddend(const Use& addend, const std::string& name) const;
  std::vector<onnx::NodeProto> QuantizeAddend(const Linear& linear, const Use& addend, int node,
                                              LinearToEmit& emit, Written& written);

  OutputGraph& output_;
  const Plan& plan_;
  const FoldedConstants& folded_;
  std::map<int, OwnBias> own_biases_;     ///< by node
  std::map<int, RoundedInputs> rounded_;  ///< by scope
  std::map<int, TensorRanks> ranks_;      ///< by scope
};

}  // namespace ptq
