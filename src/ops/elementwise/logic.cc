// Comparisons, boolean operators and selection: ai.onnx Equal, Greater, GreaterOrEqual, Less,
// LessOrEqual, And, Or, Xor, Not, BitwiseNot, IsNaN, IsInf, Where.
#include <cmath>
#include <limits>

#include "array.h"
#include "broadcast.h"

namespace ptq {
namespace {

template <class T, class Function>
void RunComparison(KernelContext& context, const Function& function) {
  const auto plan = PlanOperands(context);
  Tensor out(DType::kBool, plan.shape);
  BroadcastElements(plan, context.input(0).data<T>().data(), context.input(1).data<T>().data(),
                    out.mutable_data<bool>().data(), function);
  context.set_output(0, std::move(out));
}

template <class Function>
std::unique_ptr<Kernel> MakeComparison(Function function) {
  return MakeKernel([function](KernelContext& context) {
    if (context.input(0).dtype() == DType::kBool) {
      RunComparison<bool>(context, function);
      return;
    }
    VisitNumber(context.input(0).dtype(),
                [&](auto tag) { RunComparison<decltype(tag)>(context, function); });
  });
}

template <class Function>
std::unique_ptr<Kernel> MakeLogical(Function function) {
  return MakeKernel([function](KernelContext& context) { RunComparison<bool>(context, function); });
}

/// A test of each float, of each value of another type it is false.
template <class Function>
std::unique_ptr<Kernel> MakeFloatTest(Function function) {
  return MakeKernel([function](KernelContext& context) {
    const Tensor& x = context.input(0);
    Tensor out(DType::kBool, x.shape());
    const auto from = x.data<float>();
    const auto to = out.mutable_data<bool>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = function(from[i]);
    context.set_output(0, std::move(out));
  });
}

template <class T>
void RunWhere(KernelContext& context) {
  const Tensor& condition = context.input(0);
  const Tensor& x = context.input(1);
  const Tensor& y = context.input(2);
  const auto plan = PlanBroadcast<3>({&condition.shape(), &x.shape(), &y.shape()});
  const bool* c = condition.data<bool>().data();
  const T* a = x.data<T>().data();
  const T* b = y.data<T>().data();
  const bool first = x.IsUnique() && x.shape() == plan.shape;
  Tensor out = ReuseInput(context, first ? 1 : 2, kDTypeOf<T>, plan.shape);
  T* to = out.mutable_data<T>().data();
  const auto step = plan.strides.back();
  ForEachRun(plan, [&](int64_t at, const std::array<int64_t, 3>& from, int64_t count) {
    const bool* cs = c + from[0];
    const T* as = a + from[1];
    const T* bs = b + from[2];
    T* out_run = to + at;
    if (step[0] == 0) {
      const bool chosen = *cs;
      const T* source = chosen ? as : bs;
      const int64_t stride = chosen ? step[1] : step[2];
      for (int64_t i = 0; i < count; ++i) out_run[i] = source[i * stride];
    } else {
      for (int64_t i = 0; i < count; ++i) out_run[i] = cs[i] ? as[i * step[1]] : bs[i * step[2]];
    }
  });
  context.set_output(0, std::move(out));
}

}  // namespace

std::unique_ptr<Kernel> MakeEqual(const Node&) {
  return MakeComparison([](auto a, auto b) { return a == b; });
}

std::unique_ptr<Kernel> MakeGreater(const Node&) {
  return MakeComparison([](auto a, auto b) { return a > b; });
}

std::unique_ptr<Kernel> MakeGreaterOrEqual(const Node&) {
  return MakeComparison([](auto a, auto b) { return a >= b; });
}

std::unique_ptr<Kernel> MakeLess(const Node&) {
  return MakeComparison([](auto a, auto b) { return a < b; });
}

std::unique_ptr<Kernel> MakeLessOrEqual(const Node&) {
  return MakeComparison([](auto a, auto b) { return a <= b; });
}

std::unique_ptr<Kernel> MakeAnd(const Node&) {
  return MakeLogical([](bool a, bool b) { return a && b; });
}

std::unique_ptr<Kernel> MakeOr(const Node&) {
  return MakeLogical([](bool a, bool b) { return a || b; });
}

std::unique_ptr<Kernel> MakeXor(const Node&) {
  return MakeLogical([](bool a, bool b) { return a != b; });
}

std::unique_ptr<Kernel> MakeNot(const Node&) {
  return MakeKernel([](KernelContext& context) {
    Tensor x = context.TakeInput(0);
    for (bool& value : x.mutable_data<bool>()) value = !value;
    context.set_output(0, std::move(x));
  });
}

std::unique_ptr<Kernel> MakeBitwiseNot(const Node&) {
  return MakeKernel([](KernelContext& context) {
    Tensor x = context.TakeInput(0);
    VisitInteger(x.dtype(), [&](auto tag) {
      using T = decltype(tag);
      for (T& value : x.mutable_data<T>()) value = static_cast<T>(~value);
    });
    context.set_output(0, std::move(x));
  });
}

std::unique_ptr<Kernel> MakeIsNaN(const Node&) {
  return MakeFloatTest([](float x) { return std::isnan(x); });
}

std::unique_ptr<Kernel> MakeIsInf(const Node& node) {
  const bool negative = node.Int("detect_negative", 1) != 0;
  const bool positive = node.Int("detect_positive", 1) != 0;
  return MakeFloatTest([=](float x) { return std::isinf(x) && (x > 0 ? positive : negative); });
}

std::unique_ptr<Kernel> MakeWhere(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const DType dtype = context.input(1).dtype();
    if (context.input(2).dtype() != dtype) {
      throw InputError("the two choices have different element types");
    }
    if (dtype == DType::kBool) {
      RunWhere<bool>(context);
    } else {
      VisitNumber(dtype, [&](auto tag) { RunWhere<decltype(tag)>(context); });
    }
  });
}

}  // namespace ptq
