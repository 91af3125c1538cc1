// Reads the placement of a constant view as rows, columns or a stack of matrices.
#include "ptq/runtime/stored_matrix.h"

#include <utility>

#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// Merges the dimensions in front of the last one, when their elements are evenly spaced.
bool StackRows(ConstantView& view) {
  auto& strides = view.placement->strides;
  while (view.shape.size() > 2) {
    const bool even = view.shape[0] == 1 || strides[0] == view.shape[1] * strides[1];
    if (!even) return false;
    view.shape[1] *= view.shape[0];
    view.shape.erase(view.shape.begin());
    strides.erase(strides.begin());
  }
  return view.shape.size() == 2;
}

}  // namespace

std::optional<MatrixRows> FindStoredRows(const Graph& graph, ValueId constant, bool transposed) {
  auto view = ViewConstant(graph, constant);
  if (!view || !view->placement) return std::nullopt;
  int64_t stack = 1;
  if (transposed && view->shape.size() == 3) {
    if (view->placement->strides != RowMajorStrides(view->shape)) return std::nullopt;
    stack = view->shape[0];
    view->shape = {view->shape[1], view->shape[2]};
    view->placement->strides.erase(view->placement->strides.begin());
  }
  if (!StackRows(*view)) return std::nullopt;
  auto& strides = view->placement->strides;
  if (transposed) {
    std::swap(view->shape[0], view->shape[1]);
    std::swap(strides[0], strides[1]);
  }
  MatrixRows::Part part{view->shape[0], view->shape[1], view->placement->offset};
  const bool in_rows = strides[1] == 1 || part.cols == 1;
  part.transposed = !in_rows;
  if (!in_rows && strides[0] != 1 && part.rows != 1) return std::nullopt;
  part.stride = in_rows ? strides[0] : strides[1];
  if (stack > 1) {
    if (!part.transposed) return std::nullopt;
    part.stack = stack;
    part.rows *= stack;
  }
  return MatrixRows(graph.model().weights().Read(*graph.value(view->stored).constant), part);
}

}  // namespace ptq
