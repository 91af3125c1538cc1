// Products with a weight that hide behind other operators, spelled out as plain ones.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/constant_view.h"
#include "ptq/model/graph.h"
#include "ptq/model/node_builder.h"

namespace ptq {

/// Writes the nodes that replace one node. Names of what is new start with the node's own output.
class FormWriter {
 public:
  FormWriter(const Graph& graph, int index) : graph_(graph), index_(index) {}

  [[nodiscard]] const Graph& graph() const { return graph_; }
  [[nodiscard]] const Node& node() const { return graph_.nodes()[size_t(index_)]; }
  /// kNoValue when the input is absent.
  [[nodiscard]] ValueId input(size_t i) const;
  /// "" when the input is absent.
  [[nodiscard]] std::string InputName(size_t i) const;
  [[nodiscard]] std::optional<ConstantView> View(size_t i) const;
  /// Opset of the standard operators.
  [[nodiscard]] int64_t opset() const { return graph_.model().Opset(""); }

  /// Adds a node and returns the name of its output: "" asks for a new name.
  std::string Add(const std::string& type, const std::vector<std::string>& inputs,
                  const std::string& output = "");
  /// The node added last, for attributes, domains and more outputs.
  [[nodiscard]] onnx::NodeProto& last() { return nodes_.back(); }
  /// A Constant node's output.
  std::string Integers(const Shape& shape, const std::vector<int64_t>& values);
  std::string Scalar(float value, DType dtype);
  /// With `order` as Transpose's perm.
  std::string Transpose(const std::string& value, const std::vector<int64_t>& order,
                        const std::string& output = "");
  /// Swaps the last two dimensions, whatever the rank. Needs opset 12.
  std::string SwapLast(const std::string& value, const std::string& output = "");
  std::string Reshape(const std::string& value, const std::vector<int64_t>& shape,
                      const std::string& output = "");
  /// The product carries the node's own name, which says which layer it is.
  void NameProduct() { last().set_name(node().proto().name()); }
  /// One of several products.
  void NameProduct(int64_t which) {
    last().set_name(node().proto().name() + "/" + std::to_string(which));
  }
  /// A name for a value or a node that the graph does not have yet.
  [[nodiscard]] std::string Fresh();

  [[nodiscard]] std::vector<onnx::NodeProto> Take() { return std::move(nodes_); }

 private:
  const Graph& graph_;
  int index_;
  int count_ = 0;
  std::vector<onnx::NodeProto> nodes_;
};

/// Each writes the plain form of a node of its type and returns true, or writes nothing that counts
/// and returns false when the node is plain already or is none of the forms that it knows.
using LinearForm = bool (*)(FormWriter& writer);

bool SpellOutGemm(FormWriter& writer);
bool SpellOutFusedGemm(FormWriter& writer);
bool SpellOutMatMul(FormWriter& writer);
bool SpellOutFusedMatMul(FormWriter& writer);
bool SpellOutConv(FormWriter& writer);
bool SpellOutEinsum(FormWriter& writer);
bool SpellOutPackedAttention(FormWriter& writer);
bool SpellOutMoe(FormWriter& writer);

/// Replaces every node, those of control flow included, that has a plain form by that form. The
/// weight must be a constant; whether it is worth quantizing does not matter here: what is never
/// edited gets its original node back when the model is written.
[[nodiscard]] std::vector<SpelledOut> SpellOutLinears(const Graph& graph, onnx::GraphProto& proto);

}  // namespace ptq
