// Any number of operands with broadcasting: ai.onnx Min, Max, Sum, Mean.
#include "array.h"
#include "broadcast.h"

namespace ptq {
namespace {

/// Folds the inputs from the left: result = function(function(x0, x1), x2) …
template <class T, class Function>
Tensor Fold(KernelContext& context, const Function& function) {
  Tensor result = context.TakeInput(0);
  for (size_t i = 1; i < context.input_count(); ++i) {
    const Tensor& next = context.input(i);
    if (next.dtype() != result.dtype()) {
      throw InputError("the operands have different element types");
    }
    const auto plan = PlanBroadcast<2>({&result.shape(), &next.shape()});
    const T* a = result.data<T>().data();
    const bool in_place = result.IsUnique() && result.shape() == plan.shape;
    // Keeps `a` alive while a larger result is written.
    const Tensor previous = in_place ? Tensor() : result;
    if (!in_place) result = Tensor(kDTypeOf<T>, plan.shape);
    BroadcastBinary(plan, a, next.data<T>().data(), result.mutable_data<T>().data(), function);
  }
  return result;
}

template <class Function>
std::unique_ptr<Kernel> MakeVariadic(Function function) {
  return MakeKernel([function](KernelContext& context) {
    VisitNumber(context.input(0).dtype(), [&](auto tag) {
      context.set_output(0, Fold<decltype(tag)>(context, function));
    });
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeMin(const Node&) {
  return MakeVariadic([](const auto& a, const auto& b) {
    using T = typename std::decay_t<decltype(a)>::Scalar;
    // `x != x` holds for NaN, which wins over any number.
    return a.binaryExpr(b, [](T x, T y) { return x < y || x != x ? x : y; });
  });
}

std::unique_ptr<Kernel> MakeMax(const Node&) {
  return MakeVariadic([](const auto& a, const auto& b) {
    using T = typename std::decay_t<decltype(a)>::Scalar;
    // `x != x` holds for NaN, which wins over any number.
    return a.binaryExpr(b, [](T x, T y) { return x > y || x != x ? x : y; });
  });
}

std::unique_ptr<Kernel> MakeSum(const Node&) {
  return MakeVariadic([](const auto& a, const auto& b) { return a + b; });
}

std::unique_ptr<Kernel> MakeMean(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const float scale = 1.0f / static_cast<float>(context.input_count());
    Tensor sum = Fold<float>(context, [](const auto& a, const auto& b) { return a + b; });
    const auto values = sum.mutable_data<float>();
    ArrayMap<float>(values.data(), sum.size()) *= scale;
    context.set_output(0, std::move(sum));
  });
}

}  // namespace ptq
