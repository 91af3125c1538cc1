// Orders dimensions into runs that fold and runs that stay, and transposes where they mix.
#include "reduce_layout.h"

#include "strided.h"

namespace ptq {

ReduceLayout LayOutReduction(const Shape& shape, const Shape& axes, bool all, bool keep_dims) {
  const auto rank = static_cast<int64_t>(shape.size());
  std::vector<bool> folds(shape.size(), all);
  for (const int64_t axis : axes) folds[static_cast<size_t>(NormalizeAxis(axis, rank))] = true;

  ReduceLayout layout;
  Shape folded;
  // Runs of dimensions of the same kind; dimensions of one element belong to any run.
  std::vector<bool> runs;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (folds[d]) {
      layout.count *= shape[d];
      folded.push_back(static_cast<int64_t>(d));
      if (keep_dims) layout.result.push_back(1);
    } else {
      layout.order.push_back(static_cast<int64_t>(d));
      layout.result.push_back(shape[d]);
    }
    if (shape[d] == 1) continue;
    if (runs.empty() || runs.back() != folds[d]) runs.push_back(folds[d]);
    if (!folds[d]) (runs.size() > 1 ? layout.inner : layout.outer) *= shape[d];
  }
  layout.order.insert(layout.order.end(), folded.begin(), folded.end());

  using Pattern = ReduceLayout::Pattern;
  const size_t middle = !runs.empty() && runs.front() ? 0 : 1;  // where the folding run would be
  if (runs.size() <= middle || runs.size() == middle + 1) {
    layout.pattern = Pattern::kLast;
  } else if (runs.size() == middle + 2) {
    layout.pattern = Pattern::kMiddle;
  } else {
    layout.pattern = Pattern::kMixed;
  }
  return layout;
}

Tensor ReducedLast(const Tensor& x, const ReduceLayout& layout) {
  if (layout.pattern == ReduceLayout::Pattern::kLast) return x;
  return TransposeAxes(x, layout.order);
}

}  // namespace ptq
