// Positions of extremes: ai.onnx ArgMax, ArgMin.
#include "array.h"

namespace ptq {
namespace {

template <class T, class Better>
void FindAlong(const T* x, int64_t* at, int64_t outer, int64_t count, int64_t inner,
               const Better& better) {
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, count));
  ParallelForTiles(outer * inner, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* row = x + (r / inner) * count * inner + r % inner;
      int64_t best = 0;
      for (int64_t i = 1; i < count; ++i) {
        if (better(row[i * inner], row[best * inner])) best = i;
      }
      at[r] = best;
    }
  });
}

std::unique_ptr<Kernel> MakeArgExtreme(const Node& node, bool largest) {
  const int64_t attribute = node.Int("axis", 0);
  const bool keep_dims = node.Int("keepdims", 1) != 0;
  const bool last = node.Int("select_last_index", 0) != 0;
  return MakeKernel([=](KernelContext& context) {
    const Tensor& x = context.input(0);
    const Shape full = x.rank() == 0 ? Shape{1} : x.shape();
    const auto rank = static_cast<int64_t>(full.size());
    const int64_t axis = NormalizeAxis(attribute, rank);
    const int64_t count = full[static_cast<size_t>(axis)];
    Shape shape = x.shape();
    if (x.rank() > 0 && keep_dims) shape[static_cast<size_t>(axis)] = 1;
    if (x.rank() > 0 && !keep_dims) shape.erase(shape.begin() + axis);
    Tensor out(DType::kInt64, shape);
    if (out.size() > 0 && count == 0) throw InputError("no element along axis to choose from");
    int64_t* at = out.mutable_data<int64_t>().data();
    const int64_t outer = NumElements(full, 0, axis);
    const int64_t inner = NumElements(full, axis + 1, rank);
    VisitNumber(x.dtype(), [&](auto tag) {
      using T = decltype(tag);
      FindAlong(x.data<T>().data(), at, outer, count, inner, [=](T candidate, T best) {
        if (last && candidate == best) return true;
        return largest ? candidate > best : candidate < best;
      });
    });
    context.set_output(0, std::move(out));
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeArgMax(const Node& node) { return MakeArgExtreme(node, true); }

std::unique_ptr<Kernel> MakeArgMin(const Node& node) { return MakeArgExtreme(node, false); }

}  // namespace ptq
