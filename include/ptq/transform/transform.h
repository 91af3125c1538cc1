// What a pass over the output graph is: a name, a plan, an application, and the moment for it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/graph.h"
#include "ptq/plan/plan.h"
#include "ptq/transform/graph_editor.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {

/// The output's graph while it is made: a copy of the source's structure, its nodes in the hands of
/// an editor between TakeNodes and the editor's Commit, and the tensors that it has been given.
struct OutputGraph {
  /// `data` and `most`: the data files, as a TensorStore takes them. Nothing is created yet.
  OutputGraph(const Graph& of, std::filesystem::path data, int64_t most = 0);
  /// Reserves every name of the source and of the copy, and hands the nodes to the editor.
  void TakeNodes();

  const Graph& source;
  onnx::ModelProto model;  ///< without the main graph's initializers
  TensorStore store;
  std::unique_ptr<GraphEditor> editor;
  std::unordered_set<std::string> halved;  ///< initializers of the source that are written as FP16
};

/// What a run asks of the passes.
struct TransformRequest {
  int64_t opset = 0;            ///< of the standard operators, that what is written needs
  std::string opset_reason;     ///< what needs it, as the beginning of a sentence
  const Plan* plan = nullptr;   ///< whose graph may compute in FP16
  std::span<const Site> sites;  ///< whose scales may be folded into constants
  std::vector<ValueId> halves;  ///< float32 constants to be stored as FP16
};

/// When a pass is applied.
enum class TransformStage {
  kCopied,     ///< the model has been copied, and no node taken
  kEdited,     ///< every node has been edited, and none put back
  kCommitted,  ///< the nodes are back in the model
  kHeld,       ///< and what they hold themselves is in the output's files
};

/// A pass. What commands ask of one while the run goes on they ask by functions of its own. Apply
/// does what is left to do, so it may be called any number of times, and early where tensors have
/// to be appended to the data file as they come.
class Transform {
 public:
  virtual ~Transform() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// The last moment for Apply.
  [[nodiscard]] virtual TransformStage stage() const = 0;
  /// What the pass would do to the source, in a sentence without its first capital and full stop;
  /// empty when nothing. To be asked before TakeNodes; changes nothing. Throws what Apply would
  /// throw for a reason that is known already.
  [[nodiscard]] virtual std::string Plan() const = 0;
  virtual void Apply() = 0;
};

}  // namespace ptq
