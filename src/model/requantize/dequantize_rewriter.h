// What the rules for quantized operators see of a graph, and what they make of it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "quantized_weight.h"
#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"
#include "ptq/model/node.h"
#include "ptq/model/unique_names.h"
#include "ptq/model/value_types.h"

namespace ptq {

class DequantizeRewriter {
 public:
  using Stored = QuantizedWeight::Stored;

  /// `weights` null: nothing is changed, only found.
  /// `float_activations`: roundings of activations go, too.
  DequantizeRewriter(onnx::ModelProto& model, const WeightReader* weights,
                     bool float_activations = false);
  void Run();
  [[nodiscard]] QuantizedWeights& found() { return found_; }
  [[nodiscard]] std::vector<std::shared_ptr<const QuantizedWeight>> TakeWeights() {
    return std::move(weights_);
  }

  // For the rules. Names are those of the graph that is being rewritten, or of one around it.

  /// Null when the value is not a stored constant.
  [[nodiscard]] Stored Constant(const std::string& name) const;
  /// Null when no node makes the value.
  [[nodiscard]] const onnx::NodeProto* Producer(const std::string& name) const;
  /// Null when the value's producer is of another type.
  [[nodiscard]] const onnx::NodeProto* Producer(const std::string& name,
                                                std::string_view op_type) const;
  /// Takes note of a node whose weight is quantized.
  void Found(const Node& node, const Stored& codes, int bits);
  void CountFloatProduct() { ++found_.float_products; }
  void CountCache() { ++found_.caches; }
  /// The initializer of a weight; the same for the same codes.
  std::string AddWeight(QuantizedWeight weight);
  /// A small initializer [values].
  std::string AddFloats(const std::string& name, const std::vector<float>& values);
  [[nodiscard]] std::vector<float> ReadFloats(const Stored& constant) const;
  /// A name that nothing has.
  [[nodiscard]] std::string Unique(const std::string& wanted) { return known_.Take(wanted); }
  /// Appends a node in place of the one that is being rewritten.
  onnx::NodeProto& Emit(const std::string& type, const std::string& name,
                        const std::vector<std::string>& inputs, const std::string& output,
                        const std::string& domain = "");
  void Emit(onnx::NodeProto node) { heirs_->push_back(std::move(node)); }
  /// Element type of a value of the model as it was; kUndefined when nobody tells.
  [[nodiscard]] DType TypeOf(const std::string& value);
  /// A value that is given to the model, or by it, has another type; its last dimension grows by
  /// `factor`.
  void Declare(const std::string& value, DType dtype, int64_t factor);
  [[nodiscard]] bool Declared(const std::string& value) const { return declared_.contains(value); }
  /// Whoever reads the value reads the other one instead.
  void Rename(const std::string& value, const std::string& other) { renamed_[value] = other; }
  /// The producer of the value goes when nobody reads it any more.
  void Retire(const std::string& value) { retired_.insert(value); }
  [[nodiscard]] bool changes() const { return reader_ != nullptr; }
  [[nodiscard]] bool float_activations() const { return float_activations_; }

 private:
  struct Scope {
    const Scope* outer = nullptr;
    std::map<std::string, Stored> constants;
    std::map<std::string, const onnx::NodeProto*> producers;
  };

  void Rewrite(onnx::GraphProto& graph, const Scope* outer);
  void RenameInputs(onnx::GraphProto& graph);
  void RemoveRetired(onnx::GraphProto& graph, const std::set<std::string>& used, bool& changed);

  onnx::ModelProto& model_;
  const WeightReader* reader_;
  bool float_activations_;
  QuantizedWeights found_;
  std::vector<std::shared_ptr<const QuantizedWeight>> weights_;
  std::map<std::string, std::string> names_;  ///< initializer of a weight by what it is made of
  std::vector<onnx::TensorProto> initializers_;
  UniqueNames known_;
  std::optional<ValueTypes> types_;  ///< when somebody has asked
  std::set<std::string> retired_;
  std::set<std::string> declared_;  ///< values that have another type now
  std::map<std::string, std::string> renamed_;
  const Scope* scope_ = nullptr;
  std::vector<onnx::NodeProto>* heirs_ = nullptr;
};

/// Applies the rule for a node; true when it was replaced by what has been emitted.
bool DequantizeNode(DequantizeRewriter& rewriter, const Node& node);

}  // namespace ptq
