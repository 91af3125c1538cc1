// Products of small integers: ai.onnx DynamicQuantizeLinear, MatMulInteger, QLinearMatMul;
// com.microsoft DynamicQuantizeMatMul, MatMulIntegerToFloat, MatMulInteger16, QGemm.
#include <algorithm>
#include <cmath>

#include "arguments.h"
#include "array.h"
#include "broadcast.h"
#include "product/matmul_core.h"
#include "strided.h"

#include "ptq/tensor/activation_levels.h"

namespace ptq {
namespace {

enum class Side { kLeft, kRight };

/// A parameter given per row of the left operand, [M], or per column of the right, [N], shaped so
/// that it broadcasts against that operand or against the product.
Tensor PerRowOrColumn(const Tensor& x, Side side) {
  if (side == Side::kLeft && x.rank() == 1 && x.size() > 1) return x.Reshaped({x.size(), 1});
  return x;
}

/// float function(a, b) with broadcasting to the shape of `a`.
template <class Function>
Tensor Combine(const Tensor& a, const Tensor& b, const Function& function) {
  const auto plan = PlanBroadcast<2>({&a.shape(), &b.shape()});
  Tensor out(DType::kFloat32, plan.shape);
  BroadcastArrays(plan, a.data<float>().data(), b.data<float>().data(),
                  out.mutable_data<float>().data(), function);
  return out;
}

/// The codes less their zero point (input `zero_index`, absent: 0), as float.
Tensor Centered(const KernelContext& context, const Tensor& codes, size_t zero_index, Side side) {
  Tensor wide = codes.Cast(DType::kFloat32);
  if (!context.has_input(zero_index)) return wide;
  const Tensor zero = PerRowOrColumn(context.input(zero_index).Cast(DType::kFloat32), side);
  return Combine(wide, zero, [](const auto& x, const auto& z) { return x - z; });
}

struct DynamicQuantized {
  Tensor codes;  ///< uint8
  float scale;
  uint8_t zero_point;
};

/// Asymmetric 8-bit codes of the whole tensor; the range always holds 0.
DynamicQuantized QuantizeDynamically(const Tensor& x) {
  const auto values = x.data<float>();
  const ActivationLevels levels = LevelsOf(values);
  DynamicQuantized result{Tensor(DType::kUint8, x.shape()), levels.scale,
                          static_cast<uint8_t>(levels.zero_point)};
  uint8_t* codes = result.codes.mutable_data<uint8_t>().data();
  ParallelForTiles(x.size(), kElementTile, [&](int64_t begin, int64_t end) {
    std::vector<float> wide(static_cast<size_t>(end - begin));
    CodesOf(values.subspan(static_cast<size_t>(begin), wide.size()), levels, wide.data());
    std::ranges::transform(wide, codes + begin, [](float code) { return uint8_t(code); });
  });
  return result;
}

/// product · scale (+ bias), scale and bias broadcasting.
Tensor Rescale(const Tensor& product, const Tensor& scale, const Tensor* bias) {
  Tensor out = Combine(product.Cast(DType::kFloat32), scale,
                       [](const auto& x, const auto& s) { return x * s; });
  if (bias == nullptr) return out;
  return Combine(out, *bias, [](const auto& x, const auto& b) { return x + b; });
}

Tensor ProductOf(const Tensor& a, const Tensor& b) {
  return Combine(a, b, [](const auto& x, const auto& y) { return x * y; });
}

/// round(values / scale) + zero, within the type of `zero`.
Tensor Requantize(const Tensor& ratio_applied, const Tensor& zero, DType dtype) {
  const float low = dtype == DType::kInt8 ? -128.0f : 0.0f;
  return Combine(ratio_applied, zero,
                 [low](const auto& x, const auto& z) {
                   return (x.rint() + z).max(low).min(low + 255.0f);
                 })
      .Cast(dtype);
}

void RunQLinearMatMul(KernelContext& context) {
  const Tensor product = ExactMatMul(Centered(context, context.input(0), 2, Side::kLeft),
                                     Centered(context, context.input(3), 5, Side::kRight));
  const Tensor scale = ProductOf(PerRowOrColumn(context.input(1), Side::kLeft), context.input(4));
  const Tensor result_scale = PerRowOrColumn(context.input(6), Side::kLeft);
  const Tensor zero = PerRowOrColumn(context.input(7).Cast(DType::kFloat32), Side::kLeft);
  const Tensor ratio =
      Combine(scale, result_scale, [](const auto& x, const auto& s) { return x / s; });
  context.set_output(0,
                     Requantize(Rescale(product, ratio, nullptr), zero, context.input(7).dtype()));
}

struct QGemmAttributes {
  float alpha;
  bool transpose_a, transpose_b;
};

/// Y = alpha · scales · ((A - za)(B - zb) + C), float without a result's scale at input 7.
void RunQGemm(KernelContext& context, const QGemmAttributes& attributes) {
  const auto operand = [&](size_t i, bool transposed) {
    if (context.input(i).rank() != 2) throw InputError("QGemm: the operands must be matrices");
    return transposed ? TransposeAxes(context.input(i), {1, 0}) : context.input(i);
  };
  Tensor product =
      ExactMatMul(Centered(context, operand(0, attributes.transpose_a), 2, Side::kLeft),
                  Centered(context, operand(3, attributes.transpose_b), 5, Side::kRight));
  if (context.has_input(6)) {
    product = Combine(product.Cast(DType::kFloat32), context.input(6).Cast(DType::kFloat32),
                      [](const auto& x, const auto& c) { return x + c; });
  }
  Tensor scale = Combine(ProductOf(context.input(4), context.input(1).Reshaped({})),
                         Tensor::Scalar<float>(attributes.alpha),
                         [](const auto& x, const auto& y) { return x * y; });
  if (!context.has_input(7)) {
    context.set_output(0, Rescale(product, scale, nullptr));
    return;
  }
  scale = Combine(scale, context.input(7).Reshaped({}),
                  [](const auto& x, const auto& y) { return x / y; });
  context.set_output(
      0, Requantize(Rescale(product, scale, nullptr), context.input(8).Cast(DType::kFloat32),
                    context.input(8).dtype()));
}

}  // namespace

std::unique_ptr<Kernel> MakeDynamicQuantizeLinear(const Node&) {
  return MakeKernel([](KernelContext& context) {
    DynamicQuantized result = QuantizeDynamically(context.input(0));
    context.set_output(0, std::move(result.codes));
    context.set_output(1, Tensor::Scalar<float>(result.scale));
    context.set_output(2, Tensor::Scalar<uint8_t>(result.zero_point));
  });
}

std::unique_ptr<Kernel> MakeMatMulInteger(const Node&) {
  return MakeKernel([](KernelContext& context) {
    context.set_output(0, ExactMatMul(Centered(context, context.input(0), 2, Side::kLeft),
                                      Centered(context, context.input(1), 3, Side::kRight)));
  });
}

std::unique_ptr<Kernel> MakeQLinearMatMul(const Node&) { return MakeKernel(RunQLinearMatMul); }

std::unique_ptr<Kernel> MakeMatMulIntegerToFloat(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Tensor product = ExactMatMul(Centered(context, context.input(0), 4, Side::kLeft),
                                       Centered(context, context.input(1), 5, Side::kRight));
    const Tensor scale = ProductOf(PerRowOrColumn(context.input(2), Side::kLeft), context.input(3));
    context.set_output(0, Rescale(product, scale, InputOrNull(context, 6)));
  });
}

std::unique_ptr<Kernel> MakeDynamicQuantizeMatMul(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const DynamicQuantized left = QuantizeDynamically(context.input(0));
    const Tensor zero = Tensor::Scalar<float>(left.zero_point);
    const Tensor codes = Combine(left.codes.Cast(DType::kFloat32), zero,
                                 [](const auto& x, const auto& z) { return x - z; });
    const Tensor product = ExactMatMul(codes, Centered(context, context.input(1), 3, Side::kRight));
    const Tensor scale = ProductOf(Tensor::Scalar<float>(left.scale), context.input(2));
    context.set_output(0, Rescale(product, scale, InputOrNull(context, 4)));
  });
}

/// com.microsoft QGemm: A, B and their scales and zero points, C? (int32), result's scale and zero
/// point?.
std::unique_ptr<Kernel> MakeQGemm(const Node& node) {
  const QGemmAttributes attributes{node.Float("alpha", 1.0f), node.Int("transA", 0) != 0,
                                   node.Int("transB", 0) != 0};
  return MakeKernel([attributes](KernelContext& context) { RunQGemm(context, attributes); });
}

/// com.microsoft MatMulInteger16: int16 · int16 -> int32.
std::unique_ptr<Kernel> MakeMatMulInteger16(const Node&) {
  return MakeKernel([](KernelContext& context) {
    context.set_output(0, IntegerMatMul<int32_t>(context.input(0).Cast(DType::kInt32),
                                                 context.input(1).Cast(DType::kInt32)));
  });
}

}  // namespace ptq
