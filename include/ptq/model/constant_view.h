// A constant as a view of a stored one, through the operators that only move or convert elements.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ptq/model/graph.h"

namespace ptq {

/// Where the elements of a view lie in the stored tensor: element i is at
/// `offset + Σ i[d] · strides[d]`, counted in elements.
struct Placement {
  int64_t offset = 0;
  std::vector<int64_t> strides;
};

/// What a constant value holds, told without reading its elements.
struct ConstantView {
  ValueId stored = kNoValue;  ///< the initializer or the Constant node's value
  /// The first value, from `stored` on, that has all the view's elements and no others: `stored`
  /// itself, or the part of it that a Slice, Split or Gather takes.
  ValueId part = kNoValue;
  Shape shape;
  DType dtype = DType::kUndefined;  ///< as the graph sees it, behind Casts
  /// Absent when the elements are not the stored ones, widened or as they are: a rounding Cast, a
  /// DequantizeLinear, a product with another constant.
  std::optional<Placement> placement;
};

/// The Einsum that swaps the last two dimensions whatever the rank.
inline constexpr char kSwapLastTwo[] = "...ij->...ji";

/// Operators that move or convert a constant without making another one of it, and those that take
/// a part of it.
[[nodiscard]] bool MovesWhole(const Node& node);
[[nodiscard]] bool TakesPart(const Node& node);

/// Looks through Identity, Cast, Transpose, Reshape, Flatten, Squeeze, Unsqueeze, Slice, Split,
/// Gather with one constant index, DequantizeLinear, and Mul, Div, Add and Sub with a smaller
/// constant. Nothing when anything else is in between, or when a node on the way is malformed: to
/// fold the constant tells why.
[[nodiscard]] std::optional<ConstantView> ViewConstant(const Graph& graph, ValueId id);

/// Matrices that are picked, by indices computed in the graph, from a stored stack of them: the
/// experts of a mixture, gathered for each token.
struct GatheredMatrices {
  int gather = -1;           ///< the node
  ValueId stack = kNoValue;  ///< constant [E, A, B]
  ConstantView view;         ///< of the stack
  bool swapped = false;      ///< the value asked for holds matrices [B, A]
};
/// What the value holds behind operators that convert it or swap its last two dimensions.
[[nodiscard]] std::optional<GatheredMatrices> FindGathered(const Graph& graph, ValueId id);

/// The integers of a stored constant or a Constant node; nothing for anything else.
[[nodiscard]] std::optional<std::vector<int64_t>> ConstantIntegers(const Graph& graph, ValueId id);

}  // namespace ptq
