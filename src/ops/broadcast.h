// Loops over broadcast operands: dimensions that every operand walks alike are merged, so that the
// innermost loop is one long run in which each operand either steps by one or stands still.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "array.h"

#include "ptq/base/parallel.h"
#include "ptq/tensor/shape.h"

namespace ptq {

/// How N row-major operands are read to fill one row-major result.
template <size_t N>
struct BroadcastPlan {
  Shape shape;                                  ///< of the result
  int64_t size = 0;                             ///< elements of the result
  Shape dims;                                   ///< merged dimensions, at least one
  std::vector<std::array<int64_t, N>> strides;  ///< per merged dimension and operand
};

template <size_t N>
[[nodiscard]] BroadcastPlan<N> PlanBroadcast(const std::array<const Shape*, N>& shapes) {
  BroadcastPlan<N> plan;
  plan.shape = *shapes[0];
  for (size_t i = 1; i < N; ++i) plan.shape = BroadcastShapes(plan.shape, *shapes[i]);
  plan.size = NumElements(plan.shape);
  std::array<std::vector<int64_t>, N> strides;
  for (size_t i = 0; i < N; ++i) strides[i] = BroadcastStrides(*shapes[i], plan.shape);
  // Built from the last dimension; reversed at the end.
  for (size_t d = plan.shape.size(); d-- > 0;) {
    if (plan.shape[d] == 1) continue;
    bool merges = !plan.dims.empty();
    for (size_t i = 0; merges && i < N; ++i) {
      merges = strides[i][d] == plan.strides.back()[i] * plan.dims.back();
    }
    if (merges) {
      plan.dims.back() *= plan.shape[d];
      continue;
    }
    plan.dims.push_back(plan.shape[d]);
    std::array<int64_t, N> step;
    for (size_t i = 0; i < N; ++i) step[i] = strides[i][d];
    plan.strides.push_back(step);
  }
  if (plan.dims.empty()) {
    plan.dims.push_back(1);
    std::array<int64_t, N> step;
    step.fill(1);
    plan.strides.push_back(step);
  }
  std::reverse(plan.dims.begin(), plan.dims.end());
  std::reverse(plan.strides.begin(), plan.strides.end());
  return plan;
}

/// Calls body(out, offsets, count) for every run: `count` elements of the result from `out`, and
/// operand i from offsets[i] with step plan.strides.back()[i]. In parallel over fixed tiles.
template <size_t N, class Body>
void ForEachRun(const BroadcastPlan<N>& plan, const Body& body) {
  const size_t last = plan.dims.size() - 1;
  const int64_t inner = plan.dims[last];
  ParallelForTiles(plan.size, kElementTile, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> index(plan.dims.size(), 0);
    std::array<int64_t, N> offsets{};
    int64_t rest = begin;
    for (size_t d = plan.dims.size(); d-- > 0;) {
      index[d] = rest % plan.dims[d];
      rest /= plan.dims[d];
      for (size_t i = 0; i < N; ++i) offsets[i] += index[d] * plan.strides[d][i];
    }
    for (int64_t out = begin; out < end;) {
      const int64_t count = std::min(inner - index[last], end - out);
      body(out, offsets, count);
      out += count;
      // Back to the start of the row, then one step in the dimensions outside it.
      for (size_t i = 0; i < N; ++i) offsets[i] -= index[last] * plan.strides[last][i];
      index[last] = 0;
      for (size_t d = last; d-- > 0;) {
        for (size_t i = 0; i < N; ++i) offsets[i] += plan.strides[d][i];
        if (++index[d] < plan.dims[d]) break;
        for (size_t i = 0; i < N; ++i) offsets[i] -= plan.dims[d] * plan.strides[d][i];
        index[d] = 0;
      }
    }
  });
}

/// out[i] = function(a[i], b[i]) with broadcasting, vectorised: `function` takes Eigen array
/// expressions of float.
template <class Function>
void BroadcastArrays(const BroadcastPlan<2>& plan, const float* a, const float* b, float* out,
                     const Function& function) {
  using Array = Eigen::Array<float, Eigen::Dynamic, 1>;
  const bool a_steps = plan.strides.back()[0] != 0;
  const bool b_steps = plan.strides.back()[1] != 0;
  ForEachRun(plan, [&](int64_t at, const std::array<int64_t, 2>& from, int64_t count) {
    ArrayMap<float> result(out + at, count);
    const float* x = a + from[0];
    const float* y = b + from[1];
    if (a_steps && b_steps) {
      result = function(ConstArrayMap<float>(x, count), ConstArrayMap<float>(y, count));
    } else if (a_steps) {
      result = function(ConstArrayMap<float>(x, count), Array::Constant(count, *y));
    } else {
      result = function(Array::Constant(count, *x), ConstArrayMap<float>(y, count));
    }
  });
}

/// The same for a function of two elements of any type.
template <class T, class Result, class Function>
void BroadcastElements(const BroadcastPlan<2>& plan, const T* a, const T* b, Result* out,
                       const Function& function) {
  const int64_t a_step = plan.strides.back()[0];
  const int64_t b_step = plan.strides.back()[1];
  ForEachRun(plan, [&](int64_t at, const std::array<int64_t, 2>& from, int64_t count) {
    const T* x = a + from[0];
    const T* y = b + from[1];
    for (int64_t i = 0; i < count; ++i) {
      out[at + i] = static_cast<Result>(function(x[i * a_step], y[i * b_step]));
    }
  });
}

/// The plan of a node's first two inputs, which must have one element type.
[[nodiscard]] inline BroadcastPlan<2> PlanOperands(const KernelContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  if (a.dtype() != b.dtype()) throw InputError("the two operands have different element types");
  return PlanBroadcast<2>({&a.shape(), &b.shape()});
}

/// Memory for the result of two operands: one of theirs if it may be overwritten. See ReuseInput.
[[nodiscard]] inline Tensor ReuseOperand(KernelContext& context, const Shape& shape) {
  const Tensor& a = context.input(0);
  const DType dtype = a.dtype();
  return ReuseInput(context, a.IsUnique() && a.shape() == shape ? 0 : 1, dtype, shape);
}

/// Runs a function of two float array expressions as a whole kernel, in place if it can.
template <class Function>
void RunArrays(KernelContext& context, const Function& function) {
  const auto plan = PlanOperands(context);
  const float* a = context.input(0).data<float>().data();
  const float* b = context.input(1).data<float>().data();
  Tensor out = ReuseOperand(context, plan.shape);
  BroadcastArrays(plan, a, b, out.mutable_data<float>().data(), function);
  context.set_output(0, std::move(out));
}

/// Runs a function of two elements of type T that gives a third, in place if it can.
template <class T, class Function>
void RunElements(KernelContext& context, const Function& function) {
  const auto plan = PlanOperands(context);
  const T* a = context.input(0).data<T>().data();
  const T* b = context.input(1).data<T>().data();
  Tensor out = ReuseOperand(context, plan.shape);
  BroadcastElements(plan, a, b, out.mutable_data<T>().data(), function);
  context.set_output(0, std::move(out));
}

}  // namespace ptq
