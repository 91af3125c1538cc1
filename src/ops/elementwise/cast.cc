// Element types: ai.onnx Cast, CastLike, BitCast.
#include <algorithm>
#include <cmath>
#include <vector>

#include "float8.h"
#include "unary.h"

#include "ptq/base/half.h"
#include "ptq/ops/kernel.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

bool IsPacked(DType dtype) { return BitsOf(dtype) > 0 && BitsOf(dtype) < 8; }

/// Elements of any type as ones of a type that Tensor::Cast knows.
Tensor Plain(Tensor x) {
  if (IsFloat8(x.dtype())) return FromFloat8(x);
  if (!IsPacked(x.dtype())) return x;
  return Tensor::From<int32_t>(x.shape(), UnpackIntegers(x, 0, x.size()));
}

/// To 2 or 4 bits: fractions are rounded, and the low bits stay.
Tensor ToPacked(const Tensor& x, DType to) {
  std::vector<int32_t> codes;
  if (IsFloat(x.dtype())) {
    for (const float value : x.data<float>()) {
      codes.push_back(static_cast<int32_t>(std::clamp(std::round(value), -1e9f, 1e9f)));
    }
  } else {
    for (const int64_t value : x.Cast(DType::kInt64).ToInt64s()) {
      codes.push_back(static_cast<int32_t>(value));
    }
  }
  return PackIntegers(to, x.shape(), codes);
}

/// Every float type is float32 here, but an explicit cast to 16 bits rounds as the graph says.
void CastTo(KernelContext& context, DType to, bool saturate) {
  if (to == DType::kFloat16 && context.input(0).dtype() == DType::kFloat32) {
    return RunFloatArray(context, [](const float* x, float* y, int64_t count) {
      RoundToHalf({x, size_t(count)}, {y, size_t(count)});
    });
  }
  const Tensor x = Plain(context.TakeInput(0));
  if (IsFloat8(to)) {
    context.set_output(0, ToFloat8(x.Cast(DType::kFloat32), to, saturate));
  } else if (IsPacked(to)) {
    context.set_output(0, ToPacked(x, to));
  } else {
    context.set_output(0, x.Cast(to).Widened());
  }
}

bool Known(DType dtype) {
  return IsFloat8(dtype) || IsFloat(dtype) || dtype == DType::kBool || IsInteger(dtype);
}

}  // namespace

/// ai.onnx Cast. `saturate` concerns 8-bit floats only.
std::unique_ptr<Kernel> MakeCast(const Node& node) {
  const auto to = static_cast<DType>(node.RequiredInt("to"));
  if (!Known(to)) {
    throw UnsupportedError("a cast to element type " + std::string(DTypeName(to)) + " (" +
                           std::to_string(node.Int("to", 0)) + ")");
  }
  return MakeKernel([to, saturate = node.Int("saturate", 1) != 0](KernelContext& context) {
    CastTo(context, to, saturate);
  });
}

/// ai.onnx CastLike.
std::unique_ptr<Kernel> MakeCastLike(const Node& node) {
  return MakeKernel([saturate = node.Int("saturate", 1) != 0](KernelContext& context) {
    CastTo(context, context.input(1).dtype(), saturate);
  });
}

/// ai.onnx BitCast: the same bits as elements of another type of as many. Of the floats only
/// float32 has the bits here that the model means.
std::unique_ptr<Kernel> MakeBitCast(const Node& node) {
  const auto to = static_cast<DType>(node.RequiredInt("to"));
  return MakeKernel([to](KernelContext& context) {
    const Tensor x = context.TakeInput(0);
    const bool known = (to == DType::kFloat32 || to == DType::kBool || IsInteger(to)) &&
                       BitsOf(x.dtype()) == BitsOf(to);
    if (!known) {
      throw UnsupportedError("the bits of " + std::string(DTypeName(x.dtype())) + " as " +
                             std::string(DTypeName(to)));
    }
    Tensor out(to, x.shape());
    std::ranges::copy(x.bytes(), out.mutable_bytes().begin());
    context.set_output(0, std::move(out));
  });
}

}  // namespace ptq
