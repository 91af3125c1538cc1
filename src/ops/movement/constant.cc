// Operators that make tensors out of attributes and scalars.
#include <algorithm>
#include <cmath>

#include "array.h"
#include "indices.h"

#include "ptq/model/model.h"
#include "ptq/model/node_builder.h"
#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// A sparse constant written out: values at linear indices [n] or at coordinates [n, rank].
Tensor Dense(const Tensor& values, const Tensor& indices, const Shape& shape) {
  Tensor result(values.dtype(), shape);
  std::ranges::fill(result.mutable_bytes(), std::byte{0});
  if (values.size() == 0) return result;
  const Shape places =
      indices.rank() == 2 ? TupleOffsets(indices, shape, 0) : NormalIndices(indices, result.size());
  if (static_cast<int64_t>(places.size()) != values.size()) {
    throw InputError("Constant: a sparse value has more values than indices");
  }
  const size_t width = values.bytes().size() / static_cast<size_t>(values.size());
  std::byte* to = result.mutable_bytes().data();
  for (size_t i = 0; i < places.size(); ++i) {
    std::memcpy(to + static_cast<size_t>(places[i]) * width, values.bytes().data() + i * width,
                width);
  }
  return result;
}

Tensor ConstantValue(const Node& node) {
  if (const auto* proto = node.TensorAttribute("value")) {
    return WeightReader({}).Read(*proto).Widened();
  }
  if (node.HasAttribute("value_int")) return Tensor::Scalar(node.Int("value_int", 0));
  if (node.HasAttribute("value_float")) return Tensor::Scalar(node.Float("value_float", 0));
  if (node.HasAttribute("value_ints")) {
    const auto values = node.Ints("value_ints");
    return Tensor::From<int64_t>({static_cast<int64_t>(values.size())}, std::span(values));
  }
  if (node.HasAttribute("value_floats")) {
    const auto values = node.Floats("value_floats");
    return Tensor::From<float>({static_cast<int64_t>(values.size())}, std::span(values));
  }
  if (const auto* sparse = FindAttribute(node.proto(), "sparse_value")) {
    const auto& stored = sparse->sparse_tensor();
    const WeightReader reader({});
    return Dense(reader.Read(stored.values()).Widened(), reader.Read(stored.indices()),
                 {stored.dims().begin(), stored.dims().end()});
  }
  throw UnsupportedError("Constant without a numeric value");
}

/// A range longer than this is a damaged model, not a tensor.
constexpr double kMostElements = 1e12;

template <class T>
Tensor RangeOf(T start, T limit, T delta) {
  if (delta == T{0}) throw InputError("Range: the step is 0");
  const bool any = delta > T{0} ? limit > start : limit < start;
  const double steps = (static_cast<double>(limit) - static_cast<double>(start)) / delta;
  if (any && !(steps < kMostElements)) throw InputError("Range: too many elements");
  int64_t count = 0;
  if (any && std::is_floating_point_v<T>) {
    count = static_cast<int64_t>(std::ceil(1.0 * (limit - start) / delta));
  } else if (any) {
    int64_t distance = 0;
    if (__builtin_sub_overflow(static_cast<int64_t>(limit), static_cast<int64_t>(start),
                               &distance)) {
      throw InputError("Range: start and limit are too far apart");
    }
    const int64_t last = delta > T{0} ? distance - 1 : distance + 1;
    count = last / static_cast<int64_t>(delta) + 1;
  }
  Tensor result(kDTypeOf<T>, {count});
  int64_t i = 0;
  for (T& value : result.mutable_data<T>()) {
    value = static_cast<T>(start + static_cast<T>(i++) * delta);
  }
  return result;
}

void RunRange(KernelContext& context) {
  const Tensor& start = context.input(0);
  const Tensor& limit = context.input(1);
  // com.microsoft may leave the step out.
  const Tensor delta =
      context.has_input(2) ? context.input(2) : Tensor::Scalar<int32_t>(1).Cast(start.dtype());
  if (start.size() != 1 || limit.size() != 1 || delta.size() != 1) {
    throw InputError("Range: start, limit and delta must be scalars");
  }
  VisitTypes<float, int64_t, int32_t, int16_t>(start.dtype(), [&](auto zero) {
    using T = decltype(zero);
    context.set_output(0, RangeOf<T>(start.data<T>()[0], limit.data<T>()[0], delta.data<T>()[0]));
  });
}

/// A tensor of `shape` in which every element is the one of `value`.
Tensor FilledLike(const Tensor& value, const Shape& shape) {
  Tensor result(value.dtype(), shape);
  VisitTypes<float, int64_t, int32_t, uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t, bool>(
      value.dtype(), [&](auto zero) {
        using T = decltype(zero);
        std::ranges::fill(result.mutable_data<T>(), value.data<T>()[0]);
      });
  return result;
}

void EyeLike(KernelContext& context, DType dtype, int64_t k) {
  const Tensor& input = context.input(0);
  if (input.rank() != 2) throw InputError("EyeLike: the input must have two dimensions");
  if (dtype == DType::kUndefined) dtype = input.dtype();
  if (IsFloat(dtype)) dtype = DType::kFloat32;
  const Tensor one = Tensor::Scalar(1.0f).Cast(dtype);
  Tensor result = FilledLike(Tensor::Scalar(0.0f).Cast(dtype), input.shape());
  const size_t width = one.bytes().size();
  std::byte* to = result.mutable_bytes().data();
  const int64_t columns = input.dim(1);
  for (int64_t row = 0; row < input.dim(0); ++row) {
    // Clamped before adding: k may be any 64-bit number.
    const int64_t column = row + std::clamp(k, -input.dim(0), columns);
    if (column < 0 || column >= columns) continue;
    std::memcpy(to + static_cast<size_t>(row * columns + column) * width, one.bytes().data(),
                width);
  }
  context.set_output(0, std::move(result));
}

}  // namespace

/// ai.onnx Constant, every form but strings.
std::unique_ptr<Kernel> MakeConstant(const Node& node) {
  const auto* proto = node.TensorAttribute("value");
  if (proto != nullptr && proto->data_location() == StoredTensor::EXTERNAL) {
    // Only the model knows its directory: the executor reads such values itself.
    return MakeKernel([name = node.name()](KernelContext&) {
      throw UnsupportedError("node '" + name + "': external data cannot be read here");
    });
  }
  return MakeKernel(
      [value = ConstantValue(node)](KernelContext& context) { context.set_output(0, value); });
}

/// ai.onnx ConstantOfShape; without `value` float zeros.
std::unique_ptr<Kernel> MakeConstantOfShape(const Node& node) {
  const auto* proto = node.TensorAttribute("value");
  const Tensor value =
      proto == nullptr ? Tensor::Scalar(0.0f) : WeightReader({}).Read(*proto).Widened();
  if (value.size() != 1) throw InputError("ConstantOfShape: the value must be one element");
  return MakeKernel([value](KernelContext& context) {
    context.set_output(0, FilledLike(value, context.input(0).ToInt64s()));
  });
}

/// ai.onnx Range.
std::unique_ptr<Kernel> MakeRange(const Node&) { return MakeKernel(RunRange); }

/// ai.onnx EyeLike; without `dtype` the type of the input.
std::unique_ptr<Kernel> MakeEyeLike(const Node& node) {
  const auto dtype = static_cast<DType>(node.Int("dtype", 0));
  return MakeKernel(
      [dtype, k = node.Int("k", 0)](KernelContext& context) { EyeLike(context, dtype, k); });
}

}  // namespace ptq
