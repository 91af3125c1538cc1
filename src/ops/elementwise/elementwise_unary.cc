// Mathematical functions of one element: ai.onnx Neg, Abs, Sign, Sqrt, Reciprocal, Exp, Log, Erf,
// trigonometry and rounding.
#include <cmath>
#include <type_traits>

#include "unary.h"
#include "vector_math.h"

namespace ptq {

std::unique_ptr<Kernel> MakeNeg(const Node&) {
  return MakeNumberUnary([](const auto& x) { return -x; });
}

std::unique_ptr<Kernel> MakeAbs(const Node&) {
  return MakeNumberUnary([](const auto& x) {
    using T = typename std::decay_t<decltype(x)>::Scalar;
    if constexpr (std::is_signed_v<T>) {
      return x.abs();
    } else {
      return x;
    }
  });
}

std::unique_ptr<Kernel> MakeSign(const Node&) {
  return MakeNumberUnary([](const auto& x) {
    using T = typename std::decay_t<decltype(x)>::Scalar;
    // NaN has no sign and stays.
    return x.unaryExpr([](T v) { return v != v ? v : static_cast<T>((v > T(0)) - (v < T(0))); });
  });
}

std::unique_ptr<Kernel> MakeSqrt(const Node&) {
  // Eigen's vector form is an estimate refined once, which makes NaN of infinity.
  return MakeScalarUnary([](float x) { return std::sqrt(x); });
}

std::unique_ptr<Kernel> MakeReciprocal(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.inverse(); });
}

std::unique_ptr<Kernel> MakeExp(const Node&) { return MakeFloatArray(ExpArray); }

std::unique_ptr<Kernel> MakeLog(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.log(); });
}

std::unique_ptr<Kernel> MakeErf(const Node&) { return MakeFloatArray(ErfArray); }

std::unique_ptr<Kernel> MakeSin(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.sin(); });
}

std::unique_ptr<Kernel> MakeCos(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.cos(); });
}

std::unique_ptr<Kernel> MakeTan(const Node&) {
  return MakeScalarUnary([](float x) { return std::tan(x); });
}

std::unique_ptr<Kernel> MakeAsin(const Node&) {
  return MakeScalarUnary([](float x) { return std::asin(x); });
}

std::unique_ptr<Kernel> MakeAcos(const Node&) {
  return MakeScalarUnary([](float x) { return std::acos(x); });
}

std::unique_ptr<Kernel> MakeAtan(const Node&) {
  return MakeScalarUnary([](float x) { return std::atan(x); });
}

std::unique_ptr<Kernel> MakeSinh(const Node&) {
  return MakeScalarUnary([](float x) { return std::sinh(x); });
}

std::unique_ptr<Kernel> MakeCosh(const Node&) {
  return MakeScalarUnary([](float x) { return std::cosh(x); });
}

std::unique_ptr<Kernel> MakeAsinh(const Node&) {
  return MakeScalarUnary([](float x) { return std::asinh(x); });
}

std::unique_ptr<Kernel> MakeAcosh(const Node&) {
  return MakeScalarUnary([](float x) { return std::acosh(x); });
}

std::unique_ptr<Kernel> MakeAtanh(const Node&) {
  return MakeScalarUnary([](float x) { return std::atanh(x); });
}

std::unique_ptr<Kernel> MakeTanh(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.tanh(); });
}

std::unique_ptr<Kernel> MakeSigmoid(const Node&) { return MakeFloatArray(SigmoidArray); }

std::unique_ptr<Kernel> MakeFloor(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.floor(); });
}

std::unique_ptr<Kernel> MakeCeil(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x.ceil(); });
}

std::unique_ptr<Kernel> MakeRound(const Node&) {
  // Halves go to the even neighbour.
  return MakeFloatUnary([](const auto& x) { return x.rint(); });
}

}  // namespace ptq
