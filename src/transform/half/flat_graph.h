// A model as one list of nodes and values: what its conversion to FP16 looks at and changes.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/tensor/dtype.h"

namespace ptq {

/// FLOAT, FLOAT16 and BFLOAT16: what a conversion to FP16 is about.
[[nodiscard]] inline bool IsHalvable(DType type) {
  return type == DType::kFloat32 || type == DType::kFloat16 || type == DType::kBFloat16;
}

/// What a node asks of an input, or makes of an output.
enum class Slot {
  kOther,    ///< no value of floats
  kFollows,  ///< of the type that the node computes in
  kFixed,    ///< of the type that it has in the source, whatever the node computes in
  kAny,      ///< read in any type
};

/// A node, or a join: the place where values of a subgraph and of the graph around it meet.
struct FlatNode {
  onnx::NodeProto* proto = nullptr;  ///< of a join: null
  std::vector<int> inputs;           ///< values; -1: absent
  std::vector<int> outputs;          ///< the same
  std::vector<Slot> input_slots;
  std::vector<Slot> output_slots;
  bool frozen = false;  ///< in a subgraph whose meaning is not known: nothing in it changes
  bool known = true;    ///< there is a schema that says what the operator takes
  [[nodiscard]] bool is_join() const { return proto == nullptr; }
  /// "Add" for the standard's, "com.microsoft::Attention" for others; empty for a join.
  [[nodiscard]] std::string type() const;
};

struct FlatReader {
  int node = -1;                   ///< -1: the caller reads an output of the graph
  int input = 0;                   ///< of the node; which output of the graph
  std::string* name = nullptr;     ///< where the value's name stands
  DType type = DType::kUndefined;  ///< that the reader sees in the source
};

struct FlatValue {
  std::string name;
  DType type = DType::kUndefined;  ///< in the source
  int producer = -1;
  int output = 0;                  ///< of the producer
  std::string* defined = nullptr;  ///< where the producer names it
  int scope = 0;
  int position = -1;  ///< of the node in the scope; -1: known before all of them
  const onnx::TensorProto* constant = nullptr;  ///< an initializer, or that of a Constant node
  onnx::NodeProto* holder = nullptr;            ///< that node
  std::vector<FlatReader> readers;  ///< those of its Casts to other types of floats, too
  bool graph_input = false;
  bool written = false;  ///< a constant that the output has been given already
};

/// A Cast between types of floats: its readers are those of the value that it casts.
struct FlatCast {
  onnx::NodeProto* proto = nullptr;
  int scope = 0;
};

/// Looks at a model that was loaded, in which names mean the same in all scopes. It points into the
/// model, whose nodes are not to be moved as long as this is used.
class FlatGraph {
 public:
  /// `initializers`: those of the main graph that the model does not hold itself; `written`: the
  /// same of those that the output has been given already.
  FlatGraph(onnx::ModelProto& model, std::span<const onnx::TensorProto* const> initializers,
            std::span<const onnx::TensorProto* const> written);
  FlatGraph(const FlatGraph&) = delete;
  FlatGraph& operator=(const FlatGraph&) = delete;

  /// In an order in which they can run; joins among them.
  [[nodiscard]] const std::vector<FlatNode>& nodes() const { return nodes_; }
  [[nodiscard]] const std::vector<FlatValue>& values() const { return values_; }
  [[nodiscard]] const FlatNode& node(int i) const { return nodes_[size_t(i)]; }
  [[nodiscard]] const FlatValue& value(int i) const { return values_[size_t(i)]; }
  [[nodiscard]] onnx::GraphProto& scope(int i) const { return *scopes_[size_t(i)]; }
  [[nodiscard]] const std::vector<onnx::GraphProto*>& scopes() const { return scopes_; }
  [[nodiscard]] const std::vector<FlatCast>& casts() const { return casts_; }
  /// -1 when there is none.
  [[nodiscard]] int Find(const std::string& name) const;
  /// The operator's name in the standard's domain; empty for any other node.
  [[nodiscard]] const std::string& StandardType(int node) const;

 private:
  friend class FlatBuilder;
  std::vector<onnx::GraphProto*> scopes_;
  std::vector<FlatNode> nodes_;
  std::vector<FlatValue> values_;
  std::vector<FlatCast> casts_;
  std::unordered_map<std::string, int> by_name_;
};

}  // namespace ptq
