// The single explicit list of the passes over an output graph.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ptq/transform/cache_codes.h"
#include "ptq/transform/folded_constants.h"
#include "ptq/transform/half_graph.h"
#include "ptq/transform/half_products.h"
#include "ptq/transform/half_storage.h"
#include "ptq/transform/local_constants.h"
#include "ptq/transform/opset_upgrade.h"
#include "ptq/transform/transform.h"

namespace ptq {

/// One of each. A new pass is a file, a member and a place in `all`. Whoever writes a model calls
/// Apply(kCopied), OutputGraph::TakeNodes, edits nodes, and then Apply(kEdited), the editor's
/// Commit, Apply(kCommitted) and, when nodes have no tensors of the source any more, Apply(kHeld).
/// A dry run asks for Plan alone.
class Transforms {
 public:
  /// The graph outlives this.
  Transforms(OutputGraph& graph, const TransformRequest& request)
      : opset_upgrade(graph, request),
        folded_constants(graph, request),
        half_storage(graph, request),
        cache_codes(graph, request),
        half_graph(graph, request),
        local_constants(graph),
        half_products(graph, request) {}
  Transforms(const Transforms&) = delete;
  Transforms& operator=(const Transforms&) = delete;

  OpsetUpgrade opset_upgrade;
  FoldedConstants folded_constants;
  HalfStorage half_storage;
  CacheCodesPass cache_codes;
  HalfGraph half_graph;
  LocalConstants local_constants;
  HalfProducts half_products;

  /// In the order of application.
  [[nodiscard]] std::array<Transform*, 7> all() {
    return {&opset_upgrade, &folded_constants, &half_storage, &cache_codes,
            &half_graph,    &local_constants,  &half_products};
  }

  /// Applies the passes whose stage this is.
  void Apply(TransformStage stage);
  /// A line "name: what it would do" for each pass that has something to do.
  [[nodiscard]] std::vector<std::string> Plan();
};

}  // namespace ptq
