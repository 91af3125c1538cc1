// The loop of every operator that maps each element of one tensor to one of the same type.
#pragma once

#include <memory>

#include "array.h"

namespace ptq {

/// y = function(x) over one run of elements, in place when the memory may be reused.
template <class T, class Function>
void RunUnary(KernelContext& context, const Function& function) {
  const T* from = context.input(0).data<T>().data();
  const Shape shape = context.input(0).shape();
  Tensor out = ReuseInput(context, 0, kDTypeOf<T>, shape);
  T* to = out.mutable_data<T>().data();
  ParallelForTiles(out.size(), kElementTile, [&](int64_t begin, int64_t end) {
    const ConstArrayMap<T> x(from + begin, end - begin);
    ArrayMap<T>(to + begin, end - begin) = function(x);
  });
  context.set_output(0, std::move(out));
}

/// A kernel from a function of a float array expression.
template <class Function>
std::unique_ptr<Kernel> MakeFloatUnary(Function function) {
  return MakeKernel([function](KernelContext& context) { RunUnary<float>(context, function); });
}

/// As RunUnary, for a function (const float* x, float* y, int64_t count).
template <class Function>
void RunFloatArray(KernelContext& context, const Function& function) {
  const float* from = context.input(0).data<float>().data();
  const Shape shape = context.input(0).shape();
  Tensor out = ReuseInput(context, 0, DType::kFloat32, shape);
  float* to = out.mutable_data<float>().data();
  ParallelForTiles(out.size(), kElementTile, [&](int64_t begin, int64_t end) {
    function(from + begin, to + begin, end - begin);
  });
  context.set_output(0, std::move(out));
}

/// A kernel from a function (const float* x, float* y, int64_t count).
template <class Function>
std::unique_ptr<Kernel> MakeFloatArray(Function function) {
  return MakeKernel([function](KernelContext& context) { RunFloatArray(context, function); });
}

/// A kernel from a function of one float, for those with no vector form.
template <class Function>
std::unique_ptr<Kernel> MakeScalarUnary(Function function) {
  return MakeFloatUnary([function](const auto& x) { return x.unaryExpr(function); });
}

/// As MakeFloatUnary, for integers too.
template <class Function>
std::unique_ptr<Kernel> MakeNumberUnary(Function function) {
  return MakeKernel([function](KernelContext& context) {
    VisitNumber(context.input(0).dtype(),
                [&](auto tag) { RunUnary<decltype(tag)>(context, function); });
  });
}

}  // namespace ptq
