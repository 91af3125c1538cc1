// Looks at each attention that has a cache, and says why it cannot have codes.
#include "find_caches.h"

#include <string>
#include <utility>
#include <vector>

#include "concat_caches.h"
#include "key_rotation.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr int kPast[] = {3, 4};  ///< inputs of a GroupQueryAttention: keys, values
constexpr int kKey = 1;
constexpr int kCosine = 7;
constexpr int64_t kHeadUnit = 8;  ///< ONNX Runtime takes heads of multiples of it

class CacheFinder {
 public:
  CacheFinder(const Graph& graph, const CacheCodes& codes) : graph_(graph), found_{codes, {}} {}

  [[nodiscard]] QuantizedCaches Find() && {
    std::string other;  // an attention whose cache cannot have codes
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      const std::string& type = graph_.nodes()[size_t(i)].op_type();
      if (type == "GroupQueryAttention") {
        Add(i);
      } else if (type.ends_with("Attention") && other.empty() && HasCache(i)) {
        other = "node '" + graph_.nodes()[size_t(i)].name() + "' (" + type + ")";
      }
    }
    if (!other.empty()) {
      throw UnsupportedError("--kv-cache: " + other +
                             " takes no quantized cache in ONNX Runtime; com.microsoft "
                             "GroupQueryAttention does, which ONNX Runtime GenAI's builder writes");
    }
    if (found_.caches.empty()) found_.caches = FindConcatCaches(graph_, found_.codes);
    if (found_.caches.empty()) {
      throw UnsupportedError(
          "--kv-cache: the model has no com.microsoft GroupQueryAttention with a cache, and no "
          "inputs of past keys and values that it puts new ones behind; export it with its cache");
    }
    return std::move(found_);
  }

 private:
  [[noreturn]] void Refuse(int node, const std::string& why) const {
    throw UnsupportedError("--kv-cache: the cache of node '" + graph_.nodes()[size_t(node)].name() +
                           "' cannot be quantized: " + why);
  }

  /// Whether an attention is given what the caller kept.
  [[nodiscard]] bool HasCache(int node) const {
    for (const ValueId id : graph_.inputs(node)) {
      if (id == kNoValue || !graph_.value(id).graph_input) continue;
      const auto shape = graph_.DeclaredType(id).shape;
      if (shape.has_value() && shape->size() >= 4 && IsFloat(graph_.DeclaredType(id).dtype) &&
          graph_.value(id).name.find("past") != std::string::npos) {
        return true;
      }
    }
    return false;
  }

  void Add(int node) {
    const Node& attention = graph_.nodes()[size_t(node)];
    if (!attention.has_input(kPast[0]) && !attention.has_output(1)) return;  // none to keep
    if (attention.String("k_quant_type", "NONE") != "NONE") {
      Refuse(node, "it is quantized already; --requantize makes floats of it first");
    }
    if (graph_.ScopeOf(node) != 0) Refuse(node, "the attention stands in a branch or a body");
    const KeyRotation rotation = RotationOf(node);
    for (const int i : {0, 1}) {
      Cache cache;
      cache.node = node;
      cache.keys = i == 0;
      if (!attention.has_input(kPast[i]) || !attention.has_output(1 + i)) {
        Refuse(node, "the attention has no past_key, past_value, present_key or present_value");
      }
      cache.past = graph_.inputs(node)[size_t(kPast[i])];
      cache.present = graph_.outputs(node)[1 + size_t(i)];
      cache.heads = attention.RequiredInt("kv_num_heads");
      if (cache.keys) {
        cache.rotated = rotation.channels;
        cache.interleaved = rotation.interleaved;
        cache.turns = rotation.turns;
      }
      Complete(cache);
      found_.caches.push_back(std::move(cache));
    }
  }

  /// Checks that nobody else sees the floats, and reads what is declared.
  void Complete(Cache& cache) const {
    const Value& past = graph_.value(cache.past);
    const Value& present = graph_.value(cache.present);
    if (!past.graph_input || past.uses.size() != 1 || past.graph_output) {
      Refuse(cache.node, "'" + past.name + "' is no input of the model for this attention alone");
    }
    if (!present.graph_output || !present.uses.empty()) {
      Refuse(cache.node, "'" + present.name + "' is no output of the model alone");
    }
    cache.name = present.name;
    FindHeadSize(graph_, cache);
    if (cache.head_size <= 0) {
      Refuse(cache.node, "the size of a head stands neither in the shape of '" + past.name +
                             "' nor in a config.json or genai_config.json beside the model");
    }
    if (cache.head_size % kHeadUnit != 0) {
      Refuse(cache.node, "ONNX Runtime needs heads of a multiple of 8 channels, these have " +
                             std::to_string(cache.head_size));
    }
    if (cache.rotated <= cache.head_size) return;
    cache.rotated = cache.head_size;  // tables of another size would be an error of the model
    cache.turns.clear();
  }

  /// That of a node's keys: its own, or of a RotaryEmbedding in front of it.
  [[nodiscard]] KeyRotation RotationOf(int node) const {
    const Node& attention = graph_.nodes()[size_t(node)];
    if (attention.Int("do_rotary", 0) != 0) {
      return ReadKeyRotation(graph_, node, kCosine, attention.Int("rotary_interleaved", 0) != 0);
    }
    return attention.has_input(kKey) ? RotationBehind(graph_, graph_.inputs(node)[kKey])
                                     : KeyRotation{};
  }

  const Graph& graph_;
  QuantizedCaches found_;
};

}  // namespace

QuantizedCaches FindCaches(const Graph& graph, const CacheCodes& codes) {
  return CacheFinder(graph, codes).Find();
}

}  // namespace ptq
