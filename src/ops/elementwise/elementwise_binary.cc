// Two-operand arithmetic with broadcasting: ai.onnx Add, Sub, Mul, Div, Pow, Mod, PRelu and the
// bitwise operators.
#include <cmath>
#include <type_traits>

#include "array.h"
#include "broadcast.h"

namespace ptq {
namespace {

/// A function of two elements of one type, any number type.
template <class Function>
std::unique_ptr<Kernel> MakeElementwise(Function function) {
  return MakeKernel([function](KernelContext& context) {
    VisitNumber(context.input(0).dtype(),
                [&](auto tag) { RunElements<decltype(tag)>(context, function); });
  });
}

/// A function that is written the same for two arrays (float, vectorised) and two elements.
template <class Function>
std::unique_ptr<Kernel> MakeArithmetic(Function function) {
  return MakeKernel([function](KernelContext& context) {
    if (context.input(0).dtype() == DType::kFloat32) {
      RunArrays(context, function);
    } else {
      VisitInteger(context.input(0).dtype(),
                   [&](auto tag) { RunElements<decltype(tag)>(context, function); });
    }
  });
}

template <class T>
T Divide(T a, T b) {
  if (b == 0) throw InputError("integer division by zero");
  // The most negative value over -1 overflows: negate without the trap.
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1)) return static_cast<T>(std::make_unsigned_t<T>(0) - std::make_unsigned_t<T>(a));
  }
  return static_cast<T>(a / b);
}

/// fmod: the result has the sign of `a` (C), otherwise that of `b` (Python).
template <class T>
T Modulo(T a, T b, bool fmod) {
  if constexpr (std::is_floating_point_v<T>) {
    const T rest = std::fmod(a, b);
    if (fmod) return rest;
    if (rest == 0) return std::copysign(rest, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    if (b == 0) throw InputError("integer modulo by zero");
    if constexpr (std::is_signed_v<T>) {
      if (b == T(-1)) return 0;
    }
    const T rest = static_cast<T>(a % b);
    if (fmod || rest == 0) return rest;
    return (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
  }
}

template <class T>
T IntegerPower(T base, int64_t exponent) {
  if (exponent < 0) return static_cast<T>(std::pow(static_cast<double>(base), exponent));
  // Unsigned so that overflow wraps around instead of being undefined.
  uint64_t result = 1;
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): sign extension is meant
  uint64_t factor = static_cast<uint64_t>(base);
  for (; exponent > 0; exponent >>= 1, factor *= factor) {
    if ((exponent & 1) != 0) result *= factor;
  }
  return static_cast<T>(result);
}

template <class T, class E>
T Power(T base, E exponent) {
  if constexpr (std::is_integral_v<T> && std::is_integral_v<E>) {
    return IntegerPower(base, static_cast<int64_t>(exponent));
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  } else {
    return std::pow(base, static_cast<T>(exponent));
  }
}

/// The exponents that models use (variance, square root, the cube in GELU) without std::pow.
/// Returns false for any other exponent.
bool PowerOfCommonExponent(KernelContext& context) {
  const Tensor& exponent = context.input(1);
  if (context.input(0).dtype() != DType::kFloat32 || exponent.size() != 1) return false;
  const Shape shape = BroadcastShapes(context.input(0).shape(), exponent.shape());
  const float e = exponent.Cast(DType::kFloat32).data<float>()[0];
  if (e != 2.0f && e != 3.0f && e != 0.5f && e != 1.0f && e != -1.0f) return false;
  const float* from = context.input(0).data<float>().data();
  Tensor out = ReuseInput(context, 0, DType::kFloat32, shape);
  float* to = out.mutable_data<float>().data();
  ParallelForTiles(out.size(), kElementTile, [&](int64_t begin, int64_t end) {
    const ConstArrayMap<float> x(from + begin, end - begin);
    ArrayMap<float> y(to + begin, end - begin);
    if (e == 2.0f) {
      y = x * x;
    } else if (e == 3.0f) {
      y = x * x * x;
    } else if (e == 0.5f) {
      // Not Eigen's vector form, which makes NaN of infinity; and pow(-0.0, 0.5) is +0.0.
      y = x.unaryExpr([](float v) { return std::sqrt(v) + 0.0f; });
    } else if (e == -1.0f) {
      y = x.inverse();
    } else {
      y = x;
    }
  });
  context.set_output(0, std::move(out));
  return true;
}

void RunPow(KernelContext& context) {
  if (PowerOfCommonExponent(context)) return;
  const Tensor& base = context.input(0);
  const Tensor& exponent = context.input(1);
  const auto plan = PlanBroadcast<2>({&base.shape(), &exponent.shape()});
  Tensor out(base.dtype(), plan.shape);
  const int64_t base_step = plan.strides.back()[0];
  const int64_t exponent_step = plan.strides.back()[1];
  VisitNumber(base.dtype(), [&](auto base_tag) {
    using T = decltype(base_tag);
    const T* x = base.data<T>().data();
    T* y = out.mutable_data<T>().data();
    // One loop body per type of the base: exponents are read as float or as int64.
    const auto run = [&](auto exponent_tag) {
      using E = decltype(exponent_tag);
      const Tensor wide = exponent.Cast(kDTypeOf<E>);
      const E* e = wide.data<E>().data();
      ForEachRun(plan, [&](int64_t at, const std::array<int64_t, 2>& from, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          y[at + i] = Power(x[from[0] + i * base_step], e[from[1] + i * exponent_step]);
        }
      });
    };
    if (IsFloat(exponent.dtype())) {
      run(float{});
    } else {
      run(int64_t{});
    }
  });
  context.set_output(0, std::move(out));
}

template <class Function>
std::unique_ptr<Kernel> MakeBitwise(Function function) {
  return MakeKernel([function](KernelContext& context) {
    VisitInteger(context.input(0).dtype(),
                 [&](auto tag) { RunElements<decltype(tag)>(context, function); });
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeAdd(const Node&) {
  return MakeArithmetic([](const auto& a, const auto& b) { return a + b; });
}

std::unique_ptr<Kernel> MakeSub(const Node&) {
  return MakeArithmetic([](const auto& a, const auto& b) { return a - b; });
}

std::unique_ptr<Kernel> MakeMul(const Node&) {
  return MakeArithmetic([](const auto& a, const auto& b) { return a * b; });
}

std::unique_ptr<Kernel> MakeDiv(const Node&) {
  return MakeKernel([](KernelContext& context) {
    if (context.input(0).dtype() == DType::kFloat32) {
      RunArrays(context, [](const auto& a, const auto& b) { return a / b; });
      return;
    }
    VisitInteger(context.input(0).dtype(), [&](auto tag) {
      using T = decltype(tag);
      RunElements<T>(context, Divide<T>);
    });
  });
}

std::unique_ptr<Kernel> MakeMod(const Node& node) {
  const bool fmod = node.Int("fmod", 0) != 0;
  return MakeElementwise([fmod](auto a, auto b) { return Modulo(a, b, fmod); });
}

std::unique_ptr<Kernel> MakePow(const Node&) { return MakeKernel(RunPow); }

std::unique_ptr<Kernel> MakePRelu(const Node&) {
  return MakeElementwise(
      [](auto x, auto slope) { return x < 0 ? static_cast<decltype(x)>(x * slope) : x; });
}

std::unique_ptr<Kernel> MakeBitwiseAnd(const Node&) {
  return MakeBitwise([](auto a, auto b) { return a & b; });
}

std::unique_ptr<Kernel> MakeBitwiseOr(const Node&) {
  return MakeBitwise([](auto a, auto b) { return a | b; });
}

std::unique_ptr<Kernel> MakeBitwiseXor(const Node&) {
  return MakeBitwise([](auto a, auto b) { return a ^ b; });
}

}  // namespace ptq
