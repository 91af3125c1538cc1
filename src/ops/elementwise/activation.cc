// Activation functions: ai.onnx Relu, LeakyRelu, Elu, Selu, Celu, ThresholdedRelu, HardSigmoid,
// HardSwish, Softplus, Softsign, Mish, Swish, Shrink, Gelu, Clip; com.microsoft Gelu, BiasGelu,
// FastGelu, QuickGelu, BiasAdd.
#include <cmath>
#include <limits>

#include "broadcast.h"
#include "unary.h"
#include "vector_math.h"

namespace ptq {
namespace {

/// y = function(x + bias), the bias being optional.
void RunBiased(KernelContext& context, void (*function)(const float*, float*, int64_t)) {
  if (!context.has_input(1)) return RunFloatArray(context, function);
  RunArrays(context, [](const auto& x, const auto& bias) { return x + bias; });
  KernelContext second({std::move(context.outputs()[0])}, 1, {true});
  RunFloatArray(second, function);
  context.set_output(0, std::move(second.outputs()[0]));
}

template <class T>
void RunClip(KernelContext& context, T low, T high) {
  const auto bound = [&](size_t i, T fallback) {
    if (!context.has_input(i)) return fallback;
    const auto values = context.input(i).data<T>();
    if (values.size() != 1) throw InputError("a bound of Clip must be a scalar");
    return values[0];
  };
  low = bound(1, low);
  high = bound(2, high);
  // Scalar comparisons so that NaN stays NaN; with low > high everything becomes high.
  RunUnary<T>(context, [low, high](const auto& x) {
    return x.unaryExpr([low, high](T v) {
      v = v < low ? low : v;
      return v > high ? high : v;
    });
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeRelu(const Node&) {
  return MakeNumberUnary([](const auto& x) {
    using T = typename std::decay_t<decltype(x)>::Scalar;
    return (x < T(0)).select(T(0), x);
  });
}

std::unique_ptr<Kernel> MakeLeakyRelu(const Node& node) {
  const float alpha = node.Float("alpha", 0.01f);
  return MakeFloatUnary([=](const auto& x) { return (x < 0.0f).select(alpha * x, x); });
}

std::unique_ptr<Kernel> MakeThresholdedRelu(const Node& node) {
  const float alpha = node.Float("alpha", 1.0f);
  return MakeFloatUnary([=](const auto& x) { return (x > alpha).select(x, 0.0f); });
}

std::unique_ptr<Kernel> MakeElu(const Node& node) {
  const float alpha = node.Float("alpha", 1.0f);
  return MakeFloatUnary(
      [=](const auto& x) { return (x < 0.0f).select(alpha * (x.exp() - 1.0f), x); });
}

std::unique_ptr<Kernel> MakeSelu(const Node& node) {
  const float alpha = node.Float("alpha", 1.67326319217681884765625f);
  const float gamma = node.Float("gamma", 1.05070102214813232421875f);
  return MakeFloatUnary(
      [=](const auto& x) { return gamma * (x < 0.0f).select(alpha * (x.exp() - 1.0f), x); });
}

std::unique_ptr<Kernel> MakeCelu(const Node& node) {
  const float alpha = node.Float("alpha", 1.0f);
  return MakeFloatUnary(
      [=](const auto& x) { return (x < 0.0f).select(alpha * ((x / alpha).exp() - 1.0f), x); });
}

std::unique_ptr<Kernel> MakeHardSigmoid(const Node& node) {
  const float alpha = node.Float("alpha", 0.2f);
  const float beta = node.Float("beta", 0.5f);
  return MakeFloatUnary([=](const auto& x) { return (alpha * x + beta).max(0.0f).min(1.0f); });
}

std::unique_ptr<Kernel> MakeHardSwish(const Node&) {
  return MakeFloatUnary(
      [](const auto& x) { return x * (x * (1.0f / 6.0f) + 0.5f).max(0.0f).min(1.0f); });
}

std::unique_ptr<Kernel> MakeSoftplus(const Node&) {
  return MakeScalarUnary(
      [](float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); });
}

std::unique_ptr<Kernel> MakeSoftsign(const Node&) {
  return MakeFloatUnary([](const auto& x) { return x / (1.0f + x.abs()); });
}

std::unique_ptr<Kernel> MakeMish(const Node&) {
  return MakeScalarUnary([](float x) {
    return x * std::tanh(std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))));
  });
}

std::unique_ptr<Kernel> MakeSwish(const Node& node) {
  const float alpha = node.Float("alpha", 1.0f);
  return MakeFloatArray(
      [=](const float* x, float* y, int64_t count) { SwishArray(alpha, x, y, count); });
}

std::unique_ptr<Kernel> MakeQuickGelu(const Node& node) {
  const float alpha = node.Float("alpha", 1.702f);
  return MakeFloatArray(
      [=](const float* x, float* y, int64_t count) { SwishArray(alpha, x, y, count); });
}

std::unique_ptr<Kernel> MakeShrink(const Node& node) {
  const float lambda = node.Float("lambd", 0.5f);
  const float bias = node.Float("bias", 0.0f);
  return MakeNumberUnary([=](const auto& x) {
    using T = typename std::decay_t<decltype(x)>::Scalar;
    return x.unaryExpr([=](T element) {
      const auto v = static_cast<float>(element);
      return static_cast<T>(v < -lambda ? v + bias : v > lambda ? v - bias : 0.0f);
    });
  });
}

std::unique_ptr<Kernel> MakeGelu(const Node& node) {
  const std::string approximate = node.String("approximate", "none");
  if (approximate == "tanh") return MakeFloatArray(TanhGeluArray);
  if (approximate != "none") throw UnsupportedError("Gelu approximation '" + approximate + "'");
  return MakeFloatArray(GeluArray);
}

std::unique_ptr<Kernel> MakeBiasGelu(const Node&) {
  return MakeKernel([](KernelContext& context) { RunBiased(context, GeluArray); });
}

std::unique_ptr<Kernel> MakeFastGelu(const Node&) {
  return MakeKernel([](KernelContext& context) { RunBiased(context, TanhGeluArray); });
}

/// com.microsoft BiasAdd: input + bias + skip.
std::unique_ptr<Kernel> MakeBiasAdd(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Tensor skip = context.input(2);
    RunArrays(context, [](const auto& x, const auto& bias) { return x + bias; });
    KernelContext second({std::move(context.outputs()[0]), skip}, 1, {true});
    RunArrays(second, [](const auto& x, const auto& other) { return x + other; });
    context.set_output(0, std::move(second.outputs()[0]));
  });
}

std::unique_ptr<Kernel> MakeClip(const Node& node) {
  // Attributes until opset 10 (float only), inputs since.
  const bool has_low = node.HasAttribute("min");
  const bool has_high = node.HasAttribute("max");
  const float attribute_low = node.Float("min", 0.0f);
  const float attribute_high = node.Float("max", 0.0f);
  return MakeKernel([=](KernelContext& context) {
    VisitNumber(context.input(0).dtype(), [&](auto tag) {
      using T = decltype(tag);
      using Limits = std::numeric_limits<T>;
      // Infinity rather than the largest number, so that an unbounded side leaves ±infinity alone.
      constexpr bool kFloat = std::is_floating_point_v<T>;
      const T lowest = kFloat ? -Limits::infinity() : Limits::lowest();
      const T highest = kFloat ? Limits::infinity() : Limits::max();
      RunClip<T>(context, has_low ? static_cast<T>(attribute_low) : lowest,
                 has_high ? static_cast<T>(attribute_high) : highest);
    });
  });
}

}  // namespace ptq
