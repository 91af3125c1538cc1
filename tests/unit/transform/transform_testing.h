// A model built in code with an output graph over it, whose nodes have been taken.
#pragma once

#include <string>
#include <string_view>

#include "support/model_builder.h"
#include "support/temp_directory.h"

#include "ptq/model/graph.h"
#include "ptq/transform/transforms.h"

namespace ptq::testing {

class EditedModel {
 public:
  explicit EditedModel(const GraphBuilder& builder, const TransformRequest& request = {})
      : model_(builder.Build()),
        graph_(model_),
        output_(graph_, directory_.path() / "model.onnx.data"),
        passes_(output_, request) {
    output_.TakeNodes();
  }

  [[nodiscard]] const Graph& graph() const { return graph_; }
  [[nodiscard]] OutputGraph& output() { return output_; }
  [[nodiscard]] GraphEditor& editor() { return *output_.editor; }
  [[nodiscard]] Transforms& passes() { return passes_; }
  /// Number of the node that gives a value.
  [[nodiscard]] int Producer(std::string_view value) const {
    return graph_.value(graph_.Find(value)).producer;
  }
  /// The main graph, its nodes put back.
  const onnx::GraphProto& Committed() {
    editor().Commit();
    return output_.model.graph();
  }
  /// Elements of a tensor that the store was given.
  [[nodiscard]] Tensor Stored(const std::string& name) {
    output_.store.Close();
    const WeightReader reader(directory_.path() / "model.onnx");
    for (const auto& tensor : output_.store.initializers()) {
      if (tensor.name() == name) return reader.Read(tensor).ToFloat32();
    }
    return {};
  }

 private:
  TempDirectory directory_;
  Model model_;
  Graph graph_;
  OutputGraph output_;
  Transforms passes_;
};

/// y = Relu(x) or Abs(x), by c.
inline GraphBuilder WithBranches() {
  GraphBuilder b;
  b.Input("x", {4}).Input("c", {}, DType::kBool).Op("If", {"c"}, "y").Output("y", {4});
  for (const std::string type : {"Relu", "Abs"}) {
    const std::string name = type == "Relu" ? "then_branch" : "else_branch";
    auto& branch = *AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    branch.set_name(name);
    FillNode(*branch.add_node(), type, {"x"}, {"of_" + type});
    Declare(*branch.add_output(), "of_" + type, DType::kFloat32, {4});
  }
  return b;
}

}  // namespace ptq::testing
