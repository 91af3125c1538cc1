// Looks at each attention that has a cache, and says why it cannot have codes.
#include "find_caches.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/runtime/feeds.h"

namespace ptq {
namespace {

constexpr int kPast[] = {3, 4};  ///< inputs of a GroupQueryAttention: keys, values
constexpr int kKey = 1;
constexpr int kCosine = 7;
constexpr int64_t kHeadUnit = 8;  ///< ONNX Runtime takes heads of multiples of it

/// How a value turns with the position: channels of a head, and whether pairs lie side by side.
struct Rotation {
  int64_t channels = 0;
  bool interleaved = false;
  std::vector<std::vector<float>> turns = {};
};

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
    if (found_.caches.empty()) {
      throw UnsupportedError(
          "--kv-cache: the model has no com.microsoft GroupQueryAttention with a cache, the only "
          "operator that takes a quantized one; ONNX Runtime GenAI's builder writes it");
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
    const Rotation rotation = RotationOf(node);
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
    for (const ValueId id : {cache.past, cache.present}) {
      const auto shape = graph_.DeclaredType(id).shape;
      if (shape.has_value() && shape->size() == 4 && cache.head_size <= 0) {
        cache.head_size = shape->back();
      }
    }
    if (cache.head_size <= 0) cache.head_size = ReadFeedHints(graph_.model().directory()).head_size;
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
  [[nodiscard]] Rotation RotationOf(int node) const {
    const Node& attention = graph_.nodes()[size_t(node)];
    if (attention.Int("do_rotary", 0) != 0) {
      return ReadRotation(node, kCosine, attention.Int("rotary_interleaved", 0) != 0);
    }
    const int producer =
        attention.has_input(kKey) ? graph_.value(graph_.inputs(node)[kKey]).producer : -1;
    if (producer < 0) return {};
    const Node& rotary = graph_.nodes()[size_t(producer)];
    if (rotary.op_type() != "RotaryEmbedding") return {};
    return ReadRotation(producer, rotary.domain().empty() ? 1 : 2,
                        rotary.Int("interleaved", 0) != 0);
  }

  /// By the tables of cosines and sines [positions, pairs] that are the inputs `first` and behind.
  /// Where there are none all channels may turn by any angle.
  [[nodiscard]] Rotation ReadRotation(int node, size_t first, bool interleaved) const {
    constexpr int64_t kAll = int64_t{1} << 30;
    const auto& inputs = graph_.inputs(node);
    const auto table = [&](size_t input) -> const StoredTensor* {
      if (input >= inputs.size() || inputs[input] == kNoValue) return nullptr;
      const StoredTensor* const stored = graph_.value(inputs[input]).constant;
      return stored != nullptr && stored->dims_size() == 2 ? stored : nullptr;
    };
    const StoredTensor* const cosines = table(first);
    const StoredTensor* const sines = table(first + 1);
    if (cosines == nullptr || sines == nullptr || cosines->dims(0) != sines->dims(0) ||
        cosines->dims(1) != sines->dims(1)) {
      return {kAll, interleaved};
    }
    const Tensor c = graph_.model().weights().Read(*cosines).Widened();
    const Tensor s = graph_.model().weights().Read(*sines).Widened();
    const int64_t pairs = c.dim(1);
    Rotation rotation{2 * pairs, interleaved};
    constexpr int64_t kPositions = 4;
    for (int64_t i = 0; i < kPositions; ++i) {
      const int64_t row = i * c.dim(0) / kPositions;
      auto& angles = rotation.turns.emplace_back();
      for (int64_t at = row * pairs; at < (row + 1) * pairs; ++at) {
        angles.push_back(std::atan2(s.data<float>()[size_t(at)], c.data<float>()[size_t(at)]));
      }
    }
    return rotation;
  }

  const Graph& graph_;
  QuantizedCaches found_;
};

}  // namespace

QuantizedCaches FindCaches(const Graph& graph, const CacheCodes& codes) {
  return CacheFinder(graph, codes).Find();
}

}  // namespace ptq
