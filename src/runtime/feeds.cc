// Knows the inputs of exported models by their names, types and shapes.
#include "ptq/runtime/feeds.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/format.h"

namespace ptq {
namespace {

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// What an open dimension of a cache counts.
enum class Axis { kUnknown, kFixed, kLayers, kBatch, kHeads, kLength, kSize };

/// By the names that exporters give.
Axis AxisOfName(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (Contains(name, "layer")) return Axis::kLayers;
  if (Contains(name, "batch")) return Axis::kBatch;
  for (const char* word : {"past", "seq", "len", "total", "cache", "time"}) {
    if (Contains(name, word)) return Axis::kLength;
  }
  return Contains(name, "head") && !Contains(name, "size") && !Contains(name, "dim")
             ? Axis::kHeads
             : Axis::kUnknown;
}

/// The axes of [layers…, batch, heads, length, size], whatever of it is there and in which order.
/// Of an open axis whose name says nothing the place tells: the first one is the batch, the last
/// but one, or the last in front of a fixed size, the length.
std::vector<Axis> AxesOf(const Graph::Declared& declared) {
  const Shape& shape = *declared.shape;
  const size_t rank = shape.size();
  std::vector<Axis> axes(rank, Axis::kFixed);
  for (size_t i = 0; i < rank; ++i) {
    if (shape[i] < 0) axes[i] = AxisOfName(i < declared.names.size() ? declared.names[i] : "");
  }
  const auto has = [&](Axis axis) { return std::ranges::find(axes, axis) != axes.end(); };
  const auto is_open = [&](size_t i) { return axes[i] == Axis::kUnknown; };
  if (rank >= 3 && !has(Axis::kLength)) {
    if (is_open(rank - 2)) {
      axes[rank - 2] = Axis::kLength;
    } else if (is_open(rank - 1)) {
      axes[rank - 1] = Axis::kLength;  // keys that are stored transposed
    }
  }
  // A batch of one that is fixed stands for any.
  const size_t stacked = rank >= 5 ? rank - 4 : 0;
  for (size_t i = 0; i < rank && !has(Axis::kBatch); ++i) {
    if (is_open(i) || (i == stacked && shape[i] == 1)) axes[i] = Axis::kBatch;
  }
  for (size_t i = 0; i < rank; ++i) {
    if (!is_open(i) && axes[i] != Axis::kHeads) continue;
    axes[i] = i + 1 == rank ? Axis::kSize : Axis::kHeads;
  }
  return axes;
}

/// Dimensions of a cache that holds nothing yet; of an encoder's keys there are as many as the mask
/// of its states has places.
Shape PastShape(const Graph::Declared& declared, const FeedHints& hints, int64_t batch,
                int64_t length, const std::string& name) {
  if (!declared.shape.has_value()) {
    throw UnsupportedError("input '" + name + "': a cache of unknown rank cannot be made empty");
  }
  Shape shape = *declared.shape;
  const std::vector<Axis> axes = AxesOf(declared);
  for (size_t i = 0; i < shape.size(); ++i) {
    switch (axes[i]) {
      case Axis::kBatch: shape[i] = batch; break;
      case Axis::kLength: shape[i] = Contains(name, ".encoder.") ? length : 0; break;
      // Where nobody tells, 1 does: Concat ignores empty operands.
      case Axis::kLayers: shape[i] = std::max<int64_t>(1, hints.layers); break;
      case Axis::kHeads: shape[i] = std::max<int64_t>(1, hints.kv_heads); break;
      case Axis::kSize: shape[i] = std::max<int64_t>(1, hints.head_size); break;
      case Axis::kFixed:
      case Axis::kUnknown: break;
    }
  }
  return shape;
}

enum class Role { kIds, kMask, kPositions, kZeros, kCache, kCacheBranch, kUnknown };

/// Whether an input chooses rows of a constant table, as token ids do.
bool ChoosesRows(const Graph& graph, ValueId id) {
  return std::ranges::any_of(graph.value(id).uses, [&](const Use& use) {
    if (use.input != 1 || graph.nodes()[size_t(use.node)].op_type() != "Gather") return false;
    const Value& table = graph.value(graph.inputs(use.node)[0]);
    return table.constant != nullptr && table.constant->dims_size() == 2;
  });
}

/// Fixed but for the batch: a state that starts as zeros.
bool IsStateShape(const Graph::Declared& declared) {
  if (!IsFloat(declared.dtype) || !declared.shape.has_value()) return false;
  const std::vector<Axis> axes = AxesOf(declared);
  return std::ranges::all_of(
      axes, [](Axis axis) { return axis == Axis::kFixed || axis == Axis::kBatch; });
}

/// A time series' past_values is no cache; GPT-BigCode's cache has three dimensions.
bool IsCache(const std::string& name, const Graph::Declared& declared) {
  if (Contains(name, "past_key") || Contains(name, "cache_key") || Contains(name, "cache_value")) {
    return true;
  }
  const bool series =
      name == "past_values" || name.starts_with("past_time") || name.starts_with("past_observed");
  const bool past = Contains(name, "past");
  if (past && (!declared.shape.has_value() || declared.shape->size() >= 4)) return true;
  const bool state =
      past || Contains(name, "cache") || (Contains(name, "_state") && !Contains(name, "hidden"));
  return state && !series && IsStateShape(declared);
}

bool IsInteger(DType dtype) { return dtype == DType::kInt64 || dtype == DType::kInt32; }

/// By the names that exporters give; integers of another name are token ids where they are used
/// like them, and 0 elsewhere.
Role RoleOf(const Graph& graph, ValueId id) {
  const std::string& name = graph.value(id).name;
  const auto declared = graph.DeclaredType(id);
  if (IsCache(name, declared)) return Role::kCache;
  if (name == "use_cache_branch") return Role::kCacheBranch;
  if (Contains(name, "input_ids")) return Role::kIds;
  if (Contains(name, "mask")) return Role::kMask;
  if (Contains(name, "token_type_ids") || Contains(name, "segment_ids")) return Role::kZeros;
  if (Contains(name, "position")) return Role::kPositions;
  if (!IsInteger(declared.dtype) || !declared.shape.has_value()) return Role::kUnknown;
  return declared.shape->size() == 2 && ChoosesRows(graph, id) ? Role::kIds : Role::kZeros;
}

/// What is declared, and what is open of it filled in: a batch, then lengths.
Shape Filled(const Graph::Declared& declared, int64_t batch, int64_t length) {
  Shape shape = declared.shape.value_or(Shape{-1, -1});
  if (shape.size() == 1 && shape[0] < 0) shape[0] = length;  // positions, for all rows
  // Positions of several kinds: [kinds, batch, length].
  const size_t first = shape.size() == 3 && shape[0] > 0 && shape[1] < 0 ? 1 : 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) shape[i] = i == first ? batch : length;
  }
  return shape;
}

/// What a model may ask for by the dimensions that it declares: a file of a few bytes can declare
/// any.
constexpr int64_t kMostInputBytes = int64_t{1} << 30;

void CheckSize(const std::string& name, const Shape& shape) {
  const int64_t bytes = BytesOf(DType::kInt64, NumElements(shape));
  if (bytes <= kMostInputBytes) return;
  throw UnsupportedError("the model's input '" + name + "' of shape " + ToString(shape) +
                         " would take " + FormatBytes(bytes) + ", more than the " +
                         FormatBytes(kMostInputBytes) +
                         " that are made of token ids; export the model with open dimensions");
}

/// The rows of `ids` [batch, length], cut or repeated to another length.
Tensor FittedIds(const std::vector<int64_t>& ids, int64_t length, const Shape& shape) {
  std::vector<int64_t> fitted;
  const int64_t wanted = shape.back();
  const int64_t count = NumElements(shape);
  const auto rows = length > 0 ? int64_t(ids.size()) / length : 0;
  if (count > 0 && rows == 0) throw InputError("there are no token ids to feed");
  for (int64_t i = 0; i < count; ++i) {
    fitted.push_back(ids[size_t(i / wanted % rows * length + i % wanted % length)]);
  }
  return Tensor::From<int64_t>(shape, fitted);
}

/// Ones, but zeros in front, where a mask of fixed length also covers a cache.
Tensor Mask(const Shape& shape, int64_t length) {
  std::vector<int64_t> mask;
  const int64_t total = shape.empty() ? 1 : shape.back();
  for (int64_t i = 0; i < NumElements(shape); ++i) {
    mask.push_back(i % total >= total - length ? 1 : 0);
  }
  return Tensor::From<int64_t>(shape, mask);
}

/// Names that exporters give to what an input of past states takes with the next token.
std::vector<std::string> NamesOfPresent(const std::string& past) {
  std::vector<std::string> names;
  for (const std::string_view word : {"past_key_values", "past", "_in"}) {
    const size_t at = past.rfind(word);
    if (at == std::string::npos) continue;
    for (const char* other : {"present", "present_key_values", "_out"}) {
      names.push_back(std::string(past).replace(at, word.size(), other));
    }
  }
  for (const char* before : {"present_", "new_", "next_", "out_", "output_"}) {
    names.push_back(before + past);
  }
  for (const char* behind : {"_out", "_new", "_next"}) names.push_back(past + behind);
  return names;
}

/// The output that an input of past states takes with the next token.
ValueId PresentOf(const Graph& graph, const std::string& past) {
  for (const std::string& name : NamesOfPresent(past)) {
    const ValueId id = graph.Find(name);
    if (id != kNoValue && graph.value(id).graph_output) return id;
  }
  return kNoValue;
}

/// Of floats for each token, which another model makes of the token ids.
bool IsMadeOfTokens(const std::string& name) {
  return name == "inputs_embeds" || name == "per_layer_inputs";
}

Tensor MakeInput(const Graph& graph, ValueId id, const FeedHints& hints,
                 const std::vector<int64_t>& ids, int64_t batch, int64_t length) {
  const auto declared = graph.DeclaredType(id);
  const std::string& name = graph.value(id).name;
  const Shape shape = Filled(declared, batch, length);
  const Role role = RoleOf(graph, id);
  if (shape.empty() && (role == Role::kIds || role == Role::kPositions)) {
    throw UnsupportedError("the model's input '" + name +
                           "' is declared without dimensions, where ids of tokens are needed");
  }
  CheckSize(name, shape);
  switch (role) {
    case Role::kIds: return FittedIds(ids, length, shape);
    case Role::kMask: return Mask(shape, length);
    case Role::kZeros: return Tensor::Filled<int64_t>(shape, 0);
    case Role::kPositions: {
      std::vector<int64_t> positions;
      for (int64_t i = 0; i < NumElements(shape); ++i) positions.push_back(i % shape.back());
      return Tensor::From<int64_t>(shape, positions);
    }
    case Role::kCache: {
      const DType dtype = declared.dtype == DType::kUndefined ? DType::kFloat32 : declared.dtype;
      const Shape past = PastShape(declared, hints, batch, length, name);
      CheckSize(name, past);
      return NumElements(past) == 0 ? Tensor(dtype, past)
                                    : Tensor::Filled<float>(past, 0).Cast(dtype);
    }
    case Role::kCacheBranch: return Tensor::Filled<bool>({1}, false);
    case Role::kUnknown: break;
  }
  throw UnsupportedError(
      "the model's input '" + name +
      "' cannot be made from token ids; give it as an array of a file of complete inputs (.npz)");
}

}  // namespace

Feeder::Feeder(const Graph& graph, FeedHints hints, InputSource source)
    : graph_(&graph), hints_(hints), source_(std::move(source)) {
  (void)Make({0}, 1, 1);  // fails here, before any work, when an input cannot be made
}

Values Feeder::Make(const std::vector<int64_t>& ids, int64_t batch, int64_t length) const {
  std::map<std::string, Tensor> given;
  if (source_) given = source_(ids, batch, length);
  return MakeInputs(*graph_, hints_, std::move(given), ids, batch, length);
}

Values Feeder::MakePadded(const std::vector<int64_t>& ids, int64_t batch, int64_t length,
                          const std::vector<int64_t>& real) const {
  Values values = Make(ids, batch, length);
  for (auto& [id, tensor] : values) {
    if (RoleOf(*graph_, id) != Role::kMask || tensor.shape() != Shape{batch, length}) continue;
    const DType dtype = tensor.dtype();
    std::vector<int64_t> mask(size_t(batch * length), 0);
    for (int64_t b = 0; b < batch; ++b) {
      std::fill_n(mask.begin() + b * length, real[size_t(b)], int64_t{1});
    }
    tensor = Tensor::From<int64_t>({batch, length}, mask).Cast(dtype);
  }
  return values;
}

Values Feeder::MakeNext(const std::vector<int64_t>& ids, int64_t seen, const Values& caches) const {
  const auto length = std::ssize(ids);
  Values values = Make(ids, 1, length);
  for (auto& [id, tensor] : values) {
    const Role role = RoleOf(*graph_, id);
    if (seen == 0) continue;
    if (role == Role::kCache) tensor = caches.at(id);
    if (role == Role::kCacheBranch) tensor = Tensor::Filled<bool>({1}, true);
    if (role == Role::kMask) {
      tensor = Tensor::Filled<int64_t>({1, seen + length}, 1).Cast(tensor.dtype());
    }
    if (role != Role::kPositions) continue;
    const DType dtype = tensor.dtype();
    Tensor moved = tensor.Cast(DType::kInt64);
    for (int64_t& position : moved.mutable_data<int64_t>()) position += seen;
    tensor = moved.Cast(dtype);
  }
  return values;
}

std::vector<Continuation> Continuations(const Graph& graph) {
  std::vector<Continuation> found;
  for (const ValueId id : graph.graph_inputs()) {
    const std::string& name = graph.value(id).name;
    const Role role = RoleOf(graph, id);
    const Shape shape = graph.DeclaredType(id).shape.value_or(Shape{-1, -1});
    const bool by_token = role == Role::kIds || role == Role::kMask;
    const bool fixed = by_token && (shape.size() != 2 || shape[1] >= 0);
    // How many logits to keep, 0: all, stays what it is.
    const bool number = role == Role::kZeros && shape.size() != 2 && !Contains(name, "to_keep");
    if (fixed || number || (role == Role::kUnknown && !IsMadeOfTokens(name))) {
      throw UnsupportedError("tokens cannot be fed in steps: the input '" + name +
                             "' is not known to grow with each of them");
    }
    if (role != Role::kCache) continue;
    const ValueId present = PresentOf(graph, name);
    if (present == kNoValue) {
      throw UnsupportedError("tokens cannot be fed in steps: no output is what the input '" + name +
                             "' takes with the next token");
    }
    found.push_back({id, present});
  }
  if (found.empty()) {
    throw UnsupportedError(
        "tokens cannot be fed in steps: the model has no inputs of past keys and values");
  }
  return found;
}

bool ReadsPadding(const Graph& graph) {
  bool masked = false;
  for (const ValueId id : graph.graph_inputs()) {
    const Role role = RoleOf(graph, id);
    if (role == Role::kCache || role == Role::kCacheBranch) return false;
    const Shape shape = graph.DeclaredType(id).shape.value_or(Shape{-1, -1});
    const bool open = std::ranges::all_of(shape, [](int64_t dim) { return dim < 0; });
    if (!open || (role == Role::kMask && shape.size() != 2)) return false;
    masked = masked || role == Role::kMask;
  }
  return masked;
}

Values MakeInputs(const Graph& graph, const FeedHints& hints, std::map<std::string, Tensor> given,
                  const std::vector<int64_t>& ids, int64_t batch, int64_t length) {
  Values values;
  for (const ValueId id : graph.graph_inputs()) {
    const auto declared = graph.DeclaredType(id);
    const auto found = given.find(graph.value(id).name);
    Tensor tensor = found != given.end() ? std::move(found->second)
                                         : MakeInput(graph, id, hints, ids, batch, length);
    const bool integer = declared.dtype == DType::kInt32 || declared.dtype == DType::kBool;
    if (integer && tensor.dtype() == DType::kInt64) tensor = tensor.Cast(declared.dtype);
    if (IsFloat(declared.dtype)) tensor = tensor.Cast(DType::kFloat32);  // a mask may be floats
    values[id] = std::move(tensor);
  }
  return values;
}

TokenShape FixedTokenShape(const Graph& graph) {
  for (const ValueId id : graph.graph_inputs()) {
    if (RoleOf(graph, id) != Role::kIds) continue;
    const Shape shape = graph.DeclaredType(id).shape.value_or(Shape{-1, -1});
    if (shape.size() != 2) break;
    CheckSize(graph.value(id).name,
              {std::max<int64_t>(1, shape[0]), std::max<int64_t>(1, shape[1])});
    return {std::max<int64_t>(0, shape[0]), std::max<int64_t>(0, shape[1])};
  }
  return {};
}

}  // namespace ptq
