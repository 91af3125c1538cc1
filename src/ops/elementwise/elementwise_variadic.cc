// Any number of operands with broadcasting: ai.onnx Min, Max, Sum, Mean.
#include "array.h"
#include "broadcast.h"

namespace ptq {
namespace {

/// Folds the inputs from the left; `combine(plan, a, b, out)` fills one step's result, which may
/// lie where `a` does.
template <class T, class Combine>
Tensor Fold(KernelContext& context, const Combine& combine) {
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
    combine(plan, a, next.data<T>().data(), result.mutable_data<T>().data());
  }
  return result;
}

template <class Better>
std::unique_ptr<Kernel> MakeExtreme(Better better) {
  return MakeKernel([better](KernelContext& context) {
    VisitNumber(context.input(0).dtype(), [&](auto tag) {
      using T = decltype(tag);
      // `x != x` holds for NaN, which wins over any number.
      const auto pick = [better](T x, T y) { return better(x, y) || x != x ? x : y; };
      const auto step = [&](const BroadcastPlan<2>& plan, const T* a, const T* b, T* out) {
        BroadcastElements(plan, a, b, out, pick);
      };
      context.set_output(0, Fold<T>(context, step));
    });
  });
}

Tensor SumAll(KernelContext& context) {
  return Fold<float>(
      context, [](const BroadcastPlan<2>& plan, const float* a, const float* b, float* out) {
        BroadcastArrays(plan, a, b, out, [](const auto& x, const auto& y) { return x + y; });
      });
}

}  // namespace

std::unique_ptr<Kernel> MakeMin(const Node&) {
  return MakeExtreme([](auto a, auto b) { return a < b; });
}

std::unique_ptr<Kernel> MakeMax(const Node&) {
  return MakeExtreme([](auto a, auto b) { return a > b; });
}

std::unique_ptr<Kernel> MakeSum(const Node&) {
  return MakeKernel([](KernelContext& context) { context.set_output(0, SumAll(context)); });
}

std::unique_ptr<Kernel> MakeMean(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const float scale = 1.0f / static_cast<float>(context.input_count());
    Tensor sum = SumAll(context);
    ArrayMap<float>(sum.mutable_data<float>().data(), sum.size()) *= scale;
    context.set_output(0, std::move(sum));
  });
}

}  // namespace ptq
