// Reductions: ai.onnx ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2,
// ReduceSumSquare, ReduceLogSum, ReduceLogSumExp.
#include <cmath>
#include <limits>
#include <type_traits>

#include "arguments.h"
#include "array.h"
#include "reduce_layout.h"
#include "vector_math.h"

namespace ptq {
namespace {

enum class Reduction { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kSumSquare, kLogSum, kLogSumExp };

/// Terms of one float accumulation; their sums are added in double, so long rows stay exact enough.
constexpr int64_t kChunk = 256;

template <class T, class Term>
auto SumOf(const T* x, int64_t count, const Term& term) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double, T>;
  Wide total = 0;
  for (int64_t i = 0; i < count; i += kChunk) {
    total += term(ConstArrayMap<T>(x + i, std::min(kChunk, count - i))).sum();
  }
  return total;
}

/// Largest (sign 1) or smallest (sign -1) of a row. NaN wins, as in NumPy.
template <class T>
T Extreme(const T* x, int64_t count, bool largest) {
  using Limits = std::numeric_limits<T>;
  if (count == 0) {
    if constexpr (Limits::has_infinity) return largest ? -Limits::infinity() : Limits::infinity();
    return largest ? Limits::lowest() : Limits::max();
  }
  const ConstArrayMap<T> row(x, count);
  if constexpr (std::is_same_v<T, bool>) {
    return largest ? row.any() : row.all();
  } else {
    return largest ? row.template maxCoeff<Eigen::PropagateNaN>()
                   : row.template minCoeff<Eigen::PropagateNaN>();
  }
}

template <class T>
T LogSumExp(const T* x, int64_t count) {
  const T largest = Extreme(x, count, true);
  if (!std::isfinite(largest)) return largest;
  const auto sum = SumOf(x, count, [&](const auto& v) { return ExpOf(v - largest); });
  return static_cast<T>(largest + std::log(sum));
}

/// The reduction of a contiguous row.
template <class T>
T ReduceRow(Reduction kind, const T* x, int64_t count) {
  if constexpr (std::is_same_v<T, bool>) {
    return Extreme(x, count, kind == Reduction::kMax);
  } else {
    const auto plain = [](const auto& v) { return v; };
    const auto square = [](const auto& v) { return v * v; };
    switch (kind) {
      case Reduction::kSum: return static_cast<T>(SumOf(x, count, plain));
      case Reduction::kMean:
        if (count == 0) return std::is_floating_point_v<T> ? static_cast<T>(NAN) : T(0);
        return static_cast<T>(SumOf(x, count, plain) / static_cast<T>(count));
      case Reduction::kMax: return Extreme(x, count, true);
      case Reduction::kMin: return Extreme(x, count, false);
      case Reduction::kProd: return count == 0 ? T(1) : ConstArrayMap<T>(x, count).prod();
      case Reduction::kL1:
        if constexpr (std::is_unsigned_v<T>) return static_cast<T>(SumOf(x, count, plain));
        return static_cast<T>(SumOf(x, count, [](const auto& v) { return v.abs(); }));
      case Reduction::kL2: return static_cast<T>(std::sqrt(SumOf(x, count, square)));
      case Reduction::kSumSquare: return static_cast<T>(SumOf(x, count, square));
      case Reduction::kLogSum: return static_cast<T>(std::log(SumOf(x, count, plain)));
      case Reduction::kLogSumExp:
        if constexpr (std::is_floating_point_v<T>) return LogSumExp(x, count);
        break;
    }
    throw UnsupportedError("this reduction of integers");
  }
}

template <class T>
void ReduceRows(Reduction kind, const T* x, int64_t rows, int64_t count, T* out) {
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, count));
  ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) out[r] = ReduceRow(kind, x + r * count, count);
  });
}

/// Reduces the middle of [outer, count, inner] by adding up whole rows; sums and extremes only.
template <class T>
void ReduceMiddle(Reduction kind, const T* x, int64_t outer, int64_t count, int64_t inner, T* out) {
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, count * inner));
  ParallelForTiles(outer, grain, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      ArrayMap<T> sum(out + o * inner, inner);
      for (int64_t i = 0; i < count; ++i) {
        const ConstArrayMap<T> row(x + (o * count + i) * inner, inner);
        if (i == 0) {
          sum = row;
        } else if (kind == Reduction::kMax) {
          sum = (row > sum || row != row).select(row, sum);
        } else if (kind == Reduction::kMin) {
          sum = (row < sum || row != row).select(row, sum);
        } else {
          sum += row;
        }
      }
      if (kind == Reduction::kMean) sum /= static_cast<T>(count);
    }
  });
}

bool AddsWholeRows(Reduction kind) {
  return kind == Reduction::kSum || kind == Reduction::kMean || kind == Reduction::kMax ||
         kind == Reduction::kMin;
}

template <class T>
Tensor Reduce(Reduction kind, const Tensor& x, const ReduceLayout& layout) {
  Tensor out(kDTypeOf<T>, layout.result);
  T* to = out.mutable_data<T>().data();
  if (out.size() == 0) return out;
  if constexpr (!std::is_same_v<T, bool>) {
    if (layout.pattern == ReduceLayout::Pattern::kMiddle && layout.count > 0 &&
        AddsWholeRows(kind)) {
      ReduceMiddle(kind, x.data<T>().data(), layout.outer, layout.count, layout.inner, to);
      return out;
    }
  }
  const Tensor rows = ReducedLast(x, layout);
  ReduceRows(kind, rows.data<T>().data(), out.size(), layout.count, to);
  return out;
}

/// Kinds whose integer form is computed in float and cast back.
bool NeedsFloat(Reduction kind) {
  return kind == Reduction::kL2 || kind == Reduction::kLogSum || kind == Reduction::kLogSumExp;
}

Tensor ReduceTensor(Reduction kind, const Tensor& x, const ReduceLayout& layout) {
  if (!IsFloat(x.dtype()) && NeedsFloat(kind)) {
    return Reduce<float>(kind, x.Cast(DType::kFloat32), layout).Cast(x.dtype());
  }
  if (x.dtype() == DType::kBool && (kind == Reduction::kMax || kind == Reduction::kMin)) {
    return Reduce<bool>(kind, x, layout);
  }
  Tensor out;
  VisitNumber(x.dtype(), [&](auto tag) { out = Reduce<decltype(tag)>(kind, x, layout); });
  return out;
}

std::unique_ptr<Kernel> MakeReduce(const Node& node, Reduction kind) {
  const bool keep_dims = node.Int("keepdims", 1) != 0;
  const bool nothing_if_empty = node.Int("noop_with_empty_axes", 0) != 0;
  const auto attribute = node.Ints("axes");
  return MakeKernel([=](KernelContext& context) {
    const Tensor& x = context.input(0);
    const auto axes = InputOrAttribute(context, 1, attribute);
    const bool all = axes.empty() && !nothing_if_empty;
    const ReduceLayout layout = LayOutReduction(x.shape(), axes, all, keep_dims);
    context.set_output(0, ReduceTensor(kind, x, layout));
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeReduceSum(const Node& node) {
  return MakeReduce(node, Reduction::kSum);
}
std::unique_ptr<Kernel> MakeReduceMean(const Node& node) {
  return MakeReduce(node, Reduction::kMean);
}
std::unique_ptr<Kernel> MakeReduceMax(const Node& node) {
  return MakeReduce(node, Reduction::kMax);
}
std::unique_ptr<Kernel> MakeReduceMin(const Node& node) {
  return MakeReduce(node, Reduction::kMin);
}
std::unique_ptr<Kernel> MakeReduceProd(const Node& node) {
  return MakeReduce(node, Reduction::kProd);
}
std::unique_ptr<Kernel> MakeReduceL1(const Node& node) { return MakeReduce(node, Reduction::kL1); }
std::unique_ptr<Kernel> MakeReduceL2(const Node& node) { return MakeReduce(node, Reduction::kL2); }
std::unique_ptr<Kernel> MakeReduceSumSquare(const Node& node) {
  return MakeReduce(node, Reduction::kSumSquare);
}
std::unique_ptr<Kernel> MakeReduceLogSum(const Node& node) {
  return MakeReduce(node, Reduction::kLogSum);
}
std::unique_ptr<Kernel> MakeReduceLogSumExp(const Node& node) {
  return MakeReduce(node, Reduction::kLogSumExp);
}

}  // namespace ptq
