// Tries groups of each size on a weight; those that its stored codes have are told by the model.
#include "ptq/plan/known_codes.h"

#include <memory>
#include <optional>

#include "ptq/base/error.h"
#include "ptq/model/constant_view.h"
#include "ptq/quant/grid_fit.h"
#include "ptq/runtime/stored_matrix.h"

namespace ptq {
namespace {

/// The weight of a linear by rows, and the grid that it was stored with.
struct KnownWeight {
  MatrixRows rows;
  std::optional<KnownGrid> grid;

  [[nodiscard]] const KnownGrid* known() const { return grid.has_value() ? &*grid : nullptr; }
};

/// Of a matrix that is read in whole or in part, not of a stack.
std::optional<KnownGrid> GridOf(const Graph& graph, const Linear& linear) {
  auto stored = graph.model().weights().GridOf(*graph.value(linear.stored).constant);
  const auto view = ViewConstant(graph, linear.operand);
  if (!stored || !view || !view->placement || view->shape.size() != 2) return std::nullopt;
  const int64_t offset = view->placement->offset;
  int64_t row = view->placement->strides[0];
  int64_t column = view->placement->strides[1];
  if (!linear.operand_is_nk) std::swap(row, column);
  const auto grid = std::make_shared<const StoredGrid>(std::move(*stored));
  return KnownGrid{grid->bits, [=](int64_t r, int64_t c) {
                     const size_t at = grid->layout.At(offset + r * row + c * column);
                     return KnownGrid::Point{grid->scales[at], grid->zeros[at]};
                   }};
}

std::optional<KnownWeight> WeightOf(const Graph& graph, const Linear& linear) {
  auto rows = FindStoredRows(graph, linear.operand, !linear.operand_is_nk);
  if (!rows.has_value()) return std::nullopt;
  return KnownWeight{std::move(*rows), GridOf(graph, linear)};
}

bool Takes(const Form& form, const TensorFacts& facts, const FormParameters& parameters) {
  try {
    form.CheckSpec(parameters.spec);
  } catch (const UsageError&) {
    return false;
  }
  return form.Refusal(facts, parameters).empty();
}

}  // namespace

bool FindKnownSpec(const Graph& graph, const Form& form, Linear& linear, std::string& why) {
  const auto weight = WeightOf(graph, linear);
  if (!weight.has_value()) {
    why = "on no grid that can be seen: the weight is computed in the graph";
    return false;
  }
  const TensorFacts facts = FactsOf(graph, linear);
  const FormParameters asked = linear.decision.parameters;
  const int least_bits = asked.spec.bits == 2 ? 2 : 4;
  std::optional<FormParameters> best;
  // Not the form's bytes, which may fill blocks up: equal grids should be equal.
  const auto bytes = [&](const FormParameters& parameters) {
    return UnwrittenCodes().Bytes(facts, parameters);
  };
  const auto try_bits = [&](int64_t group_size, bool symmetric, int bits) {
    FormParameters parameters = asked;
    parameters.spec.group_size = group_size;
    parameters.spec.symmetric = symmetric;
    for (const int more : {2, 4, 8}) {
      parameters.spec.bits = more;
      const bool allowed = more >= bits && more >= least_bits;
      if (!allowed || !Takes(form, facts, parameters)) continue;
      if (!best.has_value() || bytes(parameters) < bytes(*best)) best = parameters;
      return;
    }
  };
  // What smaller groups cost more in scales, only fewer bits can win back.
  int most_bits = 8;
  for (const int64_t group_size : {0, 256, 128, 64, 32, 16}) {
    const auto bits = FindGrids(weight->rows, group_size, most_bits, weight->known());
    if (!bits.has_value()) continue;
    if (bits->symmetric.has_value()) try_bits(group_size, true, *bits->symmetric);
    try_bits(group_size, false, bits->asymmetric);
    if (!best.has_value()) continue;
    if (best->spec.bits <= least_bits) break;
    most_bits = best->spec.bits == 8 ? 4 : 2;
  }
  graph.model().weights().Drop(*graph.value(linear.stored).constant);
  if (!best.has_value()) {
    why = "on no grid of 8 bits that " + std::string(form.name()) + " holds";
    return false;
  }
  const bool same = best->spec.GroupsFor(linear.k) == asked.spec.GroupsFor(linear.k);
  if (same) best->spec.group_size = asked.spec.group_size;
  linear.decision.parameters = *best;
  return true;
}

QuantizedMatrix KnownCodes(const Graph& graph, const Linear& linear) {
  const auto weight = WeightOf(graph, linear);
  if (!weight.has_value()) throw InternalError("'" + linear.name + "' lies on no grid any more");
  return CodesOnGrid(weight->rows, linear.spec(), weight->known());
}

}  // namespace ptq
