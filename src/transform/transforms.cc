// Goes through the list of passes, and prepares the graph that they work on.
#include "ptq/transform/transforms.h"

#include <utility>

#include "ptq/model/graph_walk.h"

namespace ptq {

OutputGraph::OutputGraph(const Graph& of, std::filesystem::path data, int64_t most)
    : source(of), model(of.model().CopyStructure()), store(std::move(data), most) {}

void OutputGraph::TakeNodes() {
  for (const onnx::GraphProto* graph : {&source.proto(), &model.graph()}) {
    for (const std::string& name : NamesIn(*graph)) store.Reserve(name);
  }
  editor = std::make_unique<GraphEditor>(source, *model.mutable_graph());
}

void Transforms::Apply(TransformStage stage) {
  for (Transform* const pass : all()) {
    if (pass->stage() == stage) pass->Apply();
  }
}

std::vector<std::string> Transforms::Plan() {
  std::vector<std::string> lines;
  for (const Transform* const pass : all()) {
    const std::string plan = pass->Plan();
    if (!plan.empty()) lines.push_back(std::string(pass->name()) + ": " + plan);
  }
  return lines;
}

}  // namespace ptq
