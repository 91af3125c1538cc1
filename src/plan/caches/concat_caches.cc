// Goes from each input of past rows to the Concat, the outputs and the products behind it.
#include "concat_caches.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cache_readers.h"
#include "key_rotation.h"

#include "ptq/base/error.h"
#include "ptq/runtime/feeds.h"

namespace ptq {
namespace {

constexpr int64_t kOldestOpset = 11;  ///< of Round, and of Clip with inputs

/// A float input of past keys or values by the names that exporters give.
bool IsPast(const Graph& graph, ValueId id) {
  const std::string& name = graph.value(id).name;
  const auto declared = graph.DeclaredType(id);
  const bool named = name.find("past_key") != std::string::npos ||
                     name.find("past_value") != std::string::npos || name.starts_with("past.");
  return named && declared.shape.has_value() && declared.shape->size() >= 3;
}

class ConcatCacheFinder {
 public:
  ConcatCacheFinder(const Graph& graph, const CacheCodes& codes) : graph_(graph), codes_(codes) {}

  std::vector<Cache> Find() {
    std::vector<Cache> caches;
    for (const ValueId id : graph_.graph_inputs()) {
      if (!IsPast(graph_, id)) continue;
      caches.push_back(CacheOf(id));
    }
    return caches;
  }

 private:
  [[noreturn]] void Refuse(ValueId past, const std::string& why) const {
    throw UnsupportedError("--kv-cache: the cache '" + graph_.value(past).name +
                           "' cannot be quantized: " + why);
  }
  [[nodiscard]] const Node& node(int index) const { return graph_.nodes()[size_t(index)]; }

  [[nodiscard]] Cache CacheOf(ValueId past) const {
    const auto declared = graph_.DeclaredType(past);
    if (declared.dtype == DType::kInt8 || declared.dtype == DType::kUint8) {
      Refuse(past, "it is quantized already; --requantize makes floats of it first");
    }
    if (declared.dtype != DType::kFloat32 && declared.dtype != DType::kFloat16) {
      Refuse(past, "it is no float32 and no float16");
    }
    if (codes_.bits != 8) {
      Refuse(past, "the graph concatenates it, and there is no form of 4 bits for that; take int8");
    }
    if (declared.shape->size() != 4) {
      Refuse(past,
             "its shape is " + ToString(*declared.shape) + ", not [batch, heads, tokens, size]");
    }
    Cache cache;
    cache.past = past;
    AddRows(cache);
    cache.name = graph_.value(cache.present).name;
    cache.node = graph_.value(cache.present).producer;
    cache.heads = (*declared.shape)[1];
    if (cache.heads <= 0) cache.heads = ReadFeedHints(graph_.model().directory()).kv_heads;
    FindHeadSize(graph_, cache);
    if (cache.heads <= 0 || cache.head_size <= 0) {
      Refuse(past,
             "the number and size of heads stand neither in its shape nor in a config.json "
             "beside the model");
    }
    FindProducts(cache);
    return cache;
  }

  /// The Concat, the output, and where the output comes from a branch, the other branch.
  void AddRows(Cache& cache) const {
    int concat = -1;
    for (const Use& use : graph_.value(cache.past).uses) {
      if (!graph_.ReadsElements(use)) continue;
      const std::string& type = node(use.node).op_type();
      if (concat >= 0 || use.input != 0 || type != "Concat" ||
          graph_.inputs(use.node).size() != 2 || !IsTokenAxis(node(use.node))) {
        Refuse(cache.past, "node '" + node(use.node).name() + "' (" + type +
                               ") does not only put new rows behind it along the tokens");
      }
      concat = use.node;
    }
    if (concat < 0) Refuse(cache.past, "no node puts new rows behind it");
    if (node(concat).opset() < kOldestOpset) {
      Refuse(cache.past,
             "that needs opset 11, the model has " + std::to_string(node(concat).opset()));
    }
    const ValueId present = graph_.outputs(concat)[0];
    cache.rows.push_back({concat, true, graph_.inputs(concat)[1], present, Readers(present)});
    if (graph_.value(present).graph_output) {
      cache.present = present;
      return;
    }
    for (const Use& use : graph_.value(present).uses) {
      if (node(use.node).op_type() == "If" && use.input > 0) AddBranches(use, cache);
    }
    if (cache.present == kNoValue || !graph_.value(cache.present).graph_output) {
      Refuse(cache.past, "'" + graph_.value(present).name + "' is no output of the model");
    }
  }

  static bool IsTokenAxis(const Node& concat) {
    const int64_t axis = concat.Int("axis", 0);
    return axis == 2 || axis == -2;
  }

  /// An If takes the outputs of both branches, those of the first in front.
  void AddBranches(const Use& use, Cache& cache) const {
    const auto& outputs = graph_.outputs(use.node);
    const auto& inputs = graph_.inputs(use.node);
    const auto count = std::ssize(outputs);
    const int64_t index = (use.input - 1) % count;
    cache.present = outputs[size_t(index)];
    if (std::ssize(inputs) != 1 + 2 * count || cache.present == kNoValue) {
      Refuse(cache.past, "a branch is missing in node '" + node(use.node).name() + "'");
    }
    if (!graph_.value(cache.present).uses.empty()) {
      Refuse(cache.past,
             "'" + graph_.value(cache.present).name + "' is no output of the model alone");
    }
    const int64_t other = use.input > count ? 1 + index : 1 + count + index;
    const ValueId rows = inputs[size_t(other)];
    const int producer = graph_.value(rows).producer;
    if (producer < 0 || graph_.value(rows).constant != nullptr ||
        graph_.ScopeOf(producer) == graph_.ScopeOf(cache.rows[0].node)) {
      Refuse(cache.past, "'" + graph_.value(rows).name +
                             "', which the other branch hands out, is "
                             "nothing that it has computed");
    }
    CacheRows bare{producer, false, rows, rows, Readers(rows)};
    if (node(producer).op_type() == "Transpose") {
      for (const Use& twin : graph_.value(graph_.inputs(producer)[0]).uses) {
        const bool is =
            twin.node != producer && twin.input == 0 && node(twin.node).op_type() == "Transpose";
        if (is) bare.twins.push_back(twin.node);
      }
    }
    cache.rows.push_back(std::move(bare));
  }

  /// Who reads the elements, the caller and outputs of a branch aside.
  [[nodiscard]] std::vector<Use> Readers(ValueId present) const {
    std::vector<Use> readers;
    for (const Use& use : graph_.value(present).uses) {
      const bool hands_out = node(use.node).op_type() == "If";
      if (graph_.ReadsElements(use) && !hands_out) readers.push_back(use);
    }
    return readers;
  }

  void FindProducts(Cache& cache) const {
    CacheReaders all;
    for (CacheRows& rows : cache.rows) {
      CacheReaders found;
      FollowCache(graph_, rows.present, {}, cache, found);
      for (const int twin : rows.twins) {
        FollowCache(graph_, graph_.outputs(twin)[0], TwinAxes(rows, twin), cache, found);
      }
      if (found.products.empty()) {
        Refuse(cache.past, "no MatMul reads '" + graph_.value(rows.present).name + "'");
      }
      all.keys = all.keys || found.keys;
      all.values = all.values || found.values;
      rows.products = std::move(found.products);
    }
    const bool known = all.keys != all.values;
    cache.keys = known ? all.keys : cache.name.find("key") != std::string::npos;
    if (cache.keys) FindRotation(cache);
    if (!codes_.per_channel) return;
    for (const CacheRows& rows : cache.rows) {
      for (const CacheProduct& product : rows.products) {
        if (known && !product.by_head.empty()) continue;
        Refuse(cache.past, "it is not known where its heads are at node '" +
                               node(product.node).name() + "'; take --kv-scales per-tensor");
      }
    }
  }

  void FindRotation(Cache& cache) const {
    for (const CacheRows& rows : cache.rows) {
      const KeyRotation rotation = RotationBehind(graph_, rows.rows);
      if (rotation.channels == 0 && codes_.per_channel && TurnsSomehow(graph_, rows.rows)) {
        Refuse(cache.past,
               "its keys turn with the position in a way that is not known; take "
               "--kv-scales per-tensor");
      }
      cache.rotated = std::min(rotation.channels, cache.head_size);
      cache.interleaved = rotation.interleaved;
    }
  }

  /// The axes of another Transpose of what the rows are a Transpose of.
  [[nodiscard]] CacheAxes TwinAxes(const CacheRows& rows, int twin) const {
    const std::vector<int64_t> perm = node(rows.node).Ints("perm");
    CacheAxes axes;
    if (perm.size() != axes.letters.size()) return {"", 1};
    const std::string turned = axes.letters;
    for (size_t i = 0; i < perm.size(); ++i) axes.letters[size_t(perm[i])] = turned[i];
    return Transposed(axes, node(twin));
  }

  const Graph& graph_;
  const CacheCodes codes_;
};

}  // namespace

std::vector<Cache> FindConcatCaches(const Graph& graph, const CacheCodes& codes) {
  return ConcatCacheFinder(graph, codes).Find();
}

void FindHeadSize(const Graph& graph, Cache& cache) {
  for (const ValueId id : {cache.past, cache.present}) {
    const auto shape = graph.DeclaredType(id).shape;
    if (shape.has_value() && shape->size() == 4 && cache.head_size <= 0) {
      cache.head_size = shape->back();
    }
  }
  if (cache.head_size <= 0) cache.head_size = ReadFeedHints(graph.model().directory()).head_size;
}

}  // namespace ptq
