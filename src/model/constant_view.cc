// Follows a constant back through its operators, one function for each that moves elements.
#include "ptq/model/constant_view.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Integers = std::optional<std::vector<int64_t>>;

/// More than any chain of an exporter; a chain of a malformed graph ends, too.
constexpr int kLongestChain = 64;

/// What has been found on the way: a value may be reached by as many paths as there are choices.
using KnownViews = std::map<ValueId, std::optional<ConstantView>>;

std::optional<ConstantView> ViewAt(const Graph& graph, ValueId id, int depth, KnownViews& known);

/// One node on the way, seen from its output.
struct Hop {
  const Graph& graph;
  int index;
  ValueId output;

  [[nodiscard]] const Node& node() const { return graph.nodes()[size_t(index)]; }
  [[nodiscard]] ValueId input(size_t i) const {
    const auto& inputs = graph.inputs(index);
    return i < inputs.size() ? inputs[i] : kNoValue;
  }
  /// Integers that older opsets give as an attribute and newer ones as an input; empty when absent.
  [[nodiscard]] Integers Argument(size_t i, const char* attribute) const {
    if (node().HasAttribute(attribute)) return node().Ints(attribute);
    if (input(i) == kNoValue) return std::vector<int64_t>();
    return ConstantIntegers(graph, input(i));
  }
};

/// Nothing when the axis is none of a tensor of this rank.
std::optional<size_t> AxisOf(int64_t axis, size_t rank) {
  const auto count = int64_t(rank);
  if (axis < -count || axis >= count) return std::nullopt;
  return size_t(axis < 0 ? axis + count : axis);
}

bool Transposed(const Hop& hop, ConstantView& view) {
  std::vector<int64_t> order = hop.node().Ints("perm");
  const size_t rank = view.shape.size();
  if (order.empty()) {
    for (size_t i = 0; i < rank; ++i) order.push_back(int64_t(rank - 1 - i));
  }
  const ConstantView from = view;
  if (order.size() != rank) return false;
  for (size_t i = 0; i < rank; ++i) {
    if (order[i] < 0 || order[i] >= int64_t(rank)) return false;
    view.shape[i] = from.shape[size_t(order[i])];
    if (view.placement) view.placement->strides[i] = from.placement->strides[size_t(order[i])];
  }
  return true;
}

bool IsContiguous(const ConstantView& view) {
  return view.placement && view.placement->strides == RowMajorStrides(view.shape);
}

/// The strides of `shape` in a view that is not contiguous. Dimensions of one element have none;
/// the others must be those of the view.
std::optional<std::vector<int64_t>> ReshapedStrides(const ConstantView& view, const Shape& shape) {
  Shape before, after;
  std::vector<int64_t> kept;
  for (size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 1) continue;
    before.push_back(view.shape[i]);
    kept.push_back(view.placement->strides[i]);
  }
  std::ranges::copy_if(shape, std::back_inserter(after), [](int64_t dim) { return dim != 1; });
  if (before != after) return std::nullopt;
  std::vector<int64_t> strides;
  size_t next = 0;
  for (const int64_t dim : shape) strides.push_back(dim == 1 ? 1 : kept[next++]);
  return strides;
}

/// The same elements in the same order.
bool Reshaped(ConstantView& view, Shape shape) {
  if (NumElements(shape) != NumElements(view.shape)) return false;
  if (IsContiguous(view)) {
    view.placement->strides = RowMajorStrides(shape);
  } else if (view.placement) {
    if (auto strides = ReshapedStrides(view, shape)) {
      view.placement->strides = std::move(*strides);
    } else {
      view.placement.reset();
    }
  }
  view.shape = std::move(shape);
  return true;
}

bool ReshapedTo(const Hop& hop, ConstantView& view) {
  const Integers target = hop.Argument(1, "shape");
  if (!target) return false;
  const bool zero_is_zero = hop.node().Int("allowzero", 0) != 0;
  Shape shape = *target;
  int64_t known = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !zero_is_zero) {
      if (i >= view.shape.size()) return false;
      shape[i] = view.shape[i];
    }
    if (shape[i] >= 0) known *= shape[i];
  }
  for (int64_t& dim : shape) {
    if (dim < 0) dim = known > 0 ? NumElements(view.shape) / known : 0;
  }
  return Reshaped(view, std::move(shape));
}

bool Flattened(const Hop& hop, ConstantView& view) {
  const auto rank = int64_t(view.shape.size());
  int64_t axis = hop.node().Int("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) return false;
  return Reshaped(view, {NumElements(view.shape, 0, axis), NumElements(view.shape, axis, rank)});
}

bool Squeezed(const Hop& hop, ConstantView& view) {
  const Integers axes = hop.Argument(1, "axes");
  if (!axes) return false;
  std::vector<bool> gone(view.shape.size(), false);
  for (const int64_t axis : *axes) {
    const auto at = AxisOf(axis, view.shape.size());
    if (!at || view.shape[*at] != 1) return false;
    gone[*at] = true;
  }
  Shape shape;
  for (size_t i = 0; i < view.shape.size(); ++i) {
    if (axes->empty() ? view.shape[i] != 1 : !gone[i]) shape.push_back(view.shape[i]);
  }
  return Reshaped(view, std::move(shape));
}

bool Unsqueezed(const Hop& hop, ConstantView& view) {
  const Integers axes = hop.Argument(1, "axes");
  if (!axes) return false;
  const size_t rank = view.shape.size() + axes->size();
  std::vector<bool> added(rank, false);
  for (const int64_t axis : *axes) {
    const auto at = AxisOf(axis, rank);
    if (!at || added[*at]) return false;
    added[*at] = true;
  }
  Shape shape;
  size_t next = 0;
  for (size_t i = 0; i < rank; ++i) shape.push_back(added[i] ? 1 : view.shape[next++]);
  return Reshaped(view, std::move(shape));
}

/// Takes elements begin, begin + step, … of one axis.
void Take(ConstantView& view, size_t axis, int64_t begin, int64_t step, int64_t count) {
  view.shape[axis] = count;
  if (!view.placement) return;
  view.placement->offset += begin * view.placement->strides[axis];
  view.placement->strides[axis] *= step;
}

bool Sliced(const Hop& hop, ConstantView& view) {
  const Integers starts = hop.Argument(1, "starts");
  const Integers ends = hop.Argument(2, "ends");
  Integers axes = hop.Argument(3, "axes");
  Integers steps = hop.Argument(4, "steps");
  if (!starts || !ends || !axes || !steps || starts->size() != ends->size()) return false;
  for (size_t i = axes->size(); i < starts->size(); ++i) axes->push_back(int64_t(i));
  steps->resize(starts->size(), 1);
  for (size_t i = 0; i < starts->size(); ++i) {
    const auto axis = AxisOf((*axes)[i], view.shape.size());
    const int64_t step = (*steps)[i];
    if (!axis || step <= 0) return false;  // backwards: no export has it
    const int64_t size = view.shape[*axis];
    const auto clamp = [&](int64_t at) {
      return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
    };
    const int64_t begin = clamp((*starts)[i]);
    const int64_t end = std::max(begin, clamp((*ends)[i]));
    Take(view, *axis, begin, step, (end - begin + step - 1) / step);
  }
  return true;
}

bool SplitOff(const Hop& hop, ConstantView& view) {
  const auto& outputs = hop.graph.outputs(hop.index);
  const auto axis = AxisOf(hop.node().Int("axis", 0), view.shape.size());
  Integers sizes = hop.Argument(1, "split");
  if (!axis || !sizes) return false;
  const auto count = int64_t(outputs.size());
  if (sizes->empty()) {
    const int64_t each = (view.shape[*axis] + count - 1) / count;
    for (int64_t left = view.shape[*axis]; left > 0; left -= each) {
      sizes->push_back(std::min(each, left));
    }
  }
  const auto which = size_t(std::ranges::find(outputs, hop.output) - outputs.begin());
  if (which >= sizes->size()) return false;
  int64_t begin = 0;
  for (size_t i = 0; i < which; ++i) begin += (*sizes)[i];
  if (begin + (*sizes)[which] > view.shape[*axis]) return false;
  Take(view, *axis, begin, 1, (*sizes)[which]);
  return true;
}

/// One constant index; a scalar one takes the axis away.
bool Gathered(const Hop& hop, ConstantView& view) {
  const auto axis = AxisOf(hop.node().Int("axis", 0), view.shape.size());
  const Integers index = ConstantIntegers(hop.graph, hop.input(1));
  if (!axis || !index || index->size() != 1) return false;
  const auto indices = ViewConstant(hop.graph, hop.input(1));
  const auto at = AxisOf(index->front(), size_t(view.shape[*axis]));
  if (!indices || indices->shape.size() > 1 || !at) return false;
  Take(view, *axis, int64_t(*at), 1, 1);
  if (!indices->shape.empty()) return true;
  view.shape.erase(view.shape.begin() + int64_t(*axis));
  if (view.placement) {
    view.placement->strides.erase(view.placement->strides.begin() + int64_t(*axis));
  }
  return true;
}

bool Converted(const Hop& hop, ConstantView& view) {
  const DType from = view.dtype;
  view.dtype = static_cast<DType>(hop.node().Int("to", 1));
  const bool widens = view.dtype == DType::kFloat32 && IsFloat(from);
  if (!widens && view.dtype != from) view.placement.reset();
  return true;
}

bool Dequantized(const Hop& hop, ConstantView& view) {
  const auto scale =
      hop.input(1) == kNoValue ? std::nullopt : ViewConstant(hop.graph, hop.input(1));
  if (!scale) return false;
  view.dtype = scale->dtype;
  view.placement.reset();
  return true;
}

bool Unchanged(const Hop&, ConstantView&) { return true; }

using Step = bool (*)(const Hop&, ConstantView&);

const std::map<std::string, Step>& Steps() {
  static const std::map<std::string, Step> steps = {
      {"Identity", Unchanged}, {"Cast", Converted},       {"DequantizeLinear", Dequantized},
      {"Reshape", ReshapedTo}, {"Transpose", Transposed}, {"Flatten", Flattened},
      {"Squeeze", Squeezed},   {"Unsqueeze", Unsqueezed}, {"Slice", Sliced},
      {"Split", SplitOff},     {"Gather", Gathered}};
  return steps;
}

/// A weight times (or plus) a scale: the larger operand stands for both.
std::optional<ConstantView> Scaled(const Hop& hop, int depth, KnownViews& known) {
  std::optional<ConstantView> views[2];
  for (const size_t i : {size_t{0}, size_t{1}}) {
    if (hop.input(i) != kNoValue) views[i] = ViewAt(hop.graph, hop.input(i), depth + 1, known);
    if (!views[i]) return std::nullopt;
  }
  const size_t large = NumElements(views[0]->shape) >= NumElements(views[1]->shape) ? 0 : 1;
  ConstantView view = *views[large];
  try {
    if (BroadcastShapes(view.shape, views[1 - large]->shape) != view.shape) return std::nullopt;
  } catch (const InputError&) {
    return std::nullopt;
  }
  view.part = hop.output;
  view.placement.reset();
  return view;
}

/// A Transpose, or the Einsum that does the same for any rank.
bool SwapsLastTwo(const Node& node) {
  if (node.op_type() == "Einsum") return node.String("equation", "") == kSwapLastTwo;
  std::vector<int64_t> order = node.Ints("perm");
  if (node.op_type() != "Transpose" || order.size() < 2) return false;
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return std::ranges::is_sorted(order);
}

std::optional<ConstantView> FindView(const Graph& graph, ValueId id, int depth, KnownViews& known) {
  const Value& value = graph.value(id);
  if (value.constant != nullptr) {
    ConstantView view;
    view.stored = view.part = id;
    view.shape.assign(value.constant->dims().begin(), value.constant->dims().end());
    view.dtype = static_cast<DType>(value.constant->data_type());
    view.placement = Placement{0, RowMajorStrides(view.shape)};
    return view;
  }
  if (value.producer < 0 || depth > kLongestChain) return std::nullopt;
  const Hop hop{graph, value.producer, id};
  const std::string& type = hop.node().op_type();
  if (type == "Mul" || type == "Div" || type == "Add" || type == "Sub")
    return Scaled(hop, depth, known);
  const auto step = Steps().find(type);
  if (step == Steps().end() || hop.input(0) == kNoValue) return std::nullopt;
  auto view = ViewAt(graph, hop.input(0), depth + 1, known);
  if (!view || !step->second(hop, *view)) return std::nullopt;
  if (TakesPart(hop.node())) view->part = id;
  return view;
}

std::optional<ConstantView> ViewAt(const Graph& graph, ValueId id, int depth, KnownViews& known) {
  const auto found = known.find(id);
  if (found != known.end()) return found->second;
  return known[id] = FindView(graph, id, depth, known);
}

}  // namespace

bool MovesWhole(const Node& node) { return Steps().contains(node.op_type()) && !TakesPart(node); }

bool TakesPart(const Node& node) {
  const std::string& type = node.op_type();
  return type == "Slice" || type == "Split" || type == "Gather";
}

std::optional<ConstantView> ViewConstant(const Graph& graph, ValueId id) {
  KnownViews known;
  return ViewAt(graph, id, 0, known);
}

std::optional<GatheredMatrices> FindGathered(const Graph& graph, ValueId id) {
  GatheredMatrices found;
  for (int depth = 0; depth < kLongestChain && id != kNoValue; ++depth) {
    const int producer = graph.value(id).producer;
    if (producer < 0) return std::nullopt;
    const Node& node = graph.nodes()[size_t(producer)];
    const auto& inputs = graph.inputs(producer);
    const std::string& type = node.op_type();
    if (inputs.empty() || inputs[0] == kNoValue || !node.domain().empty()) return std::nullopt;
    if (type == "Gather") {
      auto view = ViewConstant(graph, inputs[0]);
      if (!view || view->shape.size() != 3 || node.Int("axis", 0) != 0) return std::nullopt;
      found.gather = producer;
      found.stack = inputs[0];
      found.view = std::move(*view);
      return found;
    }
    if (SwapsLastTwo(node)) {
      found.swapped = !found.swapped;
    } else if (type != "Identity" && type != "Cast") {
      return std::nullopt;
    }
    id = inputs[0];
  }
  return std::nullopt;
}

std::optional<std::vector<int64_t>> ConstantIntegers(const Graph& graph, ValueId id) {
  if (id == kNoValue) return std::nullopt;
  const Value& value = graph.value(id);
  if (value.constant != nullptr) {
    return graph.model().weights().Read(*value.constant).ToInt64s();
  }
  if (value.producer < 0) return std::nullopt;
  const Node& node = graph.nodes()[size_t(value.producer)];
  if (node.op_type() != "Constant") return std::nullopt;
  if (node.HasAttribute("value_ints")) return node.Ints("value_ints");
  if (node.HasAttribute("value_int")) return std::vector<int64_t>{node.Int("value_int", 0)};
  return std::nullopt;
}

}  // namespace ptq
