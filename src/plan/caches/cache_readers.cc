// Keeps account of where heads and channels are on the way from a cache to its products.
#include "cache_readers.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "known_entries.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

class CacheFollower {
 public:
  CacheFollower(const Graph& graph, const Cache& cache, CacheReaders& found)
      : graph_(graph), cache_(cache), found_(found) {}

  void Follow(ValueId id, const CacheAxes& axes) {
    for (const Use& use : graph_.value(id).uses) {
      const Node& node = graph_.nodes()[size_t(use.node)];
      const std::string& type = node.op_type();
      if (!graph_.ReadsElements(use) || type == "If") continue;
      if (use.input < 0) Refuse(use.node);
      if (type == "MatMul") {
        AddProduct(use, axes);
      } else {
        Follow(graph_.outputs(use.node)[0], Behind(use, axes));
      }
    }
  }

 private:
  [[noreturn]] void Refuse(int node) const {
    const Node& reader = graph_.nodes()[size_t(node)];
    throw UnsupportedError("--kv-cache: the cache '" + cache_.name +
                           "' cannot be quantized: node '" + reader.name() + "' (" +
                           reader.op_type() + ") reads it in a way that no scale passes through");
  }

  void AddProduct(const Use& use, const CacheAxes& axes) {
    if (use.input != 1) Refuse(use.node);
    const std::string& letters = axes.letters;
    const size_t rank = letters.size();
    const bool merged = letters.find('R') != std::string::npos;
    CacheProduct product{use.node, {}, merged ? axes.repeats : 1};
    const bool keys = letters.ends_with("DT");
    const bool values = letters.ends_with("TD");
    found_.keys = found_.keys || keys;
    found_.values = found_.values || values;
    if ((keys || values) && letters.find_first_of("HR") != std::string::npos) {
      for (size_t i = 0; i + 2 < rank; ++i) {
        const bool heads = letters[i] == 'H' || letters[i] == 'R';
        product.by_head.push_back(heads ? cache_.heads * product.repeats : 1);
      }
      product.by_head.insert(product.by_head.end(), {1, cache_.head_size});
    }
    found_.products.push_back(std::move(product));
  }

  /// The axes of what the node makes of the value.
  [[nodiscard]] CacheAxes Behind(const Use& use, const CacheAxes& axes) const {
    const Node& node = graph_.nodes()[size_t(use.node)];
    const std::string& type = node.op_type();
    const bool factor = type == "Mul" || (type == "Div" && use.input == 0);
    if (factor) {
      const auto& inputs = graph_.inputs(use.node);
      if (inputs[0] == inputs[1]) Refuse(use.node);  // its square
      return axes;
    }
    if (use.input != 0) Refuse(use.node);
    if (type == "Cast") {
      if (!IsFloat(DType(node.Int("to", 0)))) Refuse(use.node);
      return axes;
    }
    if (type == "Identity") return axes;
    if (type == "Transpose") return Transposed(axes, node);
    if (type == "Unsqueeze") return Unsqueezed(use.node, axes);
    if (type == "Expand") return Expanded(use.node, axes);
    if (type == "Reshape") return Reshaped(use.node, axes);
    if (type == "Squeeze" || type == "Slice" || type == "Tile") return {"", 1};
    Refuse(use.node);
  }

  [[nodiscard]] CacheAxes Unsqueezed(int node, CacheAxes axes) const {
    if (axes.letters.empty()) return axes;
    const Node& unsqueeze = graph_.nodes()[size_t(node)];
    std::vector<int64_t> places = unsqueeze.Ints("axes");
    if (places.empty()) {
      const auto entries =
          unsqueeze.has_input(1) ? KnownEntries(graph_, graph_.inputs(node)[1]) : std::nullopt;
      if (!entries.has_value()) return {"", 1};
      for (const auto& entry : *entries) places.push_back(entry.value_or(-1));
    }
    const auto rank = std::ssize(axes.letters) + std::ssize(places);
    for (int64_t& place : places) place += place < 0 ? rank : 0;
    std::ranges::sort(places);
    for (const int64_t place : places) {
      if (place > std::ssize(axes.letters)) return {"", 1};
      axes.letters.insert(size_t(place), 1, '1');
    }
    return axes;
  }

  /// An axis of length 1 behind the heads grows: they are repeated.
  [[nodiscard]] CacheAxes Expanded(int node, CacheAxes axes) const {
    const size_t place = axes.letters.find("H1");
    if (place == std::string::npos) return axes;
    const auto entries = KnownEntries(graph_, graph_.inputs(node)[1]);
    if (!entries.has_value() || entries->size() != axes.letters.size()) return {"", 1};
    const auto& repeats = (*entries)[place + 1];
    if (!repeats.has_value() || *repeats < 1 || axes.repeats != 1) return {"", 1};
    axes.letters[place + 1] = 'G';
    axes.repeats = *repeats;
    return axes;
  }

  [[nodiscard]] CacheAxes Reshaped(int node, CacheAxes axes) const {
    const size_t place = axes.letters.find("HG");
    if (place == std::string::npos) return {"", 1};
    const auto entries = KnownEntries(graph_, graph_.inputs(node)[1]);
    if (!entries.has_value() || entries->size() + 1 != axes.letters.size()) return {"", 1};
    axes.letters.replace(place, 2, "R");
    return axes;
  }

  const Graph& graph_;
  const Cache& cache_;
  CacheReaders& found_;
};

}  // namespace

CacheAxes Transposed(const CacheAxes& axes, const Node& transpose) {
  std::vector<int64_t> perm = transpose.Ints("perm");
  if (perm.empty()) {
    perm.resize(axes.letters.size());
    std::iota(perm.rbegin(), perm.rend(), 0);
  }
  CacheAxes turned{"", axes.repeats};
  if (perm.size() != axes.letters.size()) return turned;
  for (const int64_t from : perm) turned.letters += axes.letters[size_t(from)];
  return turned;
}

void FollowCache(const Graph& graph, ValueId id, const CacheAxes& axes, const Cache& cache,
                 CacheReaders& found) {
  CacheFollower(graph, cache, found).Follow(id, axes);
}

}  // namespace ptq
