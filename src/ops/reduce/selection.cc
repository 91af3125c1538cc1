// Operators whose result depends on which elements are set or chosen: OneHot, NonZero, Compress.
#include <algorithm>
#include <cstring>

#include "array.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// The element of a scalar as an integer, whatever its type.
int64_t WholeNumber(const Tensor& tensor) {
  if (tensor.size() != 1) {
    throw InputError("a scalar is expected, found shape " + ToString(tensor.shape()));
  }
  return tensor.Cast(DType::kInt64).data<int64_t>()[0];
}

void OneHot(KernelContext& context, int64_t axis) {
  const Tensor indices = context.input(0).Cast(DType::kInt64);
  const int64_t depth = WholeNumber(context.input(1));
  const Tensor& values = context.input(2);
  if (depth <= 0) throw InputError("OneHot: the depth must be positive");
  if (values.size() != 2) throw InputError("OneHot: values must hold the off and the on value");
  axis = NormalizeAxis(axis, indices.rank() + 1);
  Shape shape = indices.shape();
  shape.insert(shape.begin() + axis, depth);
  Tensor result(values.dtype(), shape);
  const int64_t inner = NumElements(shape, axis + 1, result.rank());
  const auto at = indices.data<int64_t>();
  VisitWidth(ElementBytes(values.dtype()), [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* off_on = reinterpret_cast<const T*>(values.bytes().data());
    T* out = reinterpret_cast<T*>(result.mutable_bytes().data());
    std::fill_n(out, result.size(), off_on[0]);
    for (int64_t i = 0; i < indices.size(); ++i) {
      const int64_t index = at[static_cast<size_t>(i)];
      const int64_t place = index < 0 ? index + depth : index;
      // An index outside selects nothing; the specification asks for no error.
      if (place < 0 || place >= depth) continue;
      out[(i / inner * depth + place) * inner + i % inner] = off_on[1];
    }
  });
  context.set_output(0, std::move(result));
}

/// Places of the elements that are not zero (not false), as offsets.
Shape NonZeroOffsets(const Tensor& data) {
  Shape offsets;
  VisitTypes<float, int64_t, int32_t, uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t, bool>(
      data.dtype(), [&](auto zero) {
        const auto values = data.data<decltype(zero)>();
        for (size_t i = 0; i < values.size(); ++i) {
          if (values[i] != zero) offsets.push_back(static_cast<int64_t>(i));
        }
      });
  return offsets;
}

void NonZero(KernelContext& context) {
  const Tensor& data = context.input(0);
  const auto offsets = NonZeroOffsets(data);
  // A scalar counts as one dimension here.
  const Shape shape = data.rank() == 0 ? Shape{1} : data.shape();
  const auto strides = RowMajorStrides(shape);
  const auto count = static_cast<int64_t>(offsets.size());
  Tensor result(DType::kInt64, {static_cast<int64_t>(shape.size()), count});
  int64_t* out = result.mutable_data<int64_t>().data();
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    for (const int64_t offset : offsets) *out++ = offset / strides[axis] % shape[axis];
  }
  context.set_output(0, std::move(result));
}

/// The chosen entries of the middle axis of [outer, length, inner].
void Compress(KernelContext& context, bool flat, int64_t axis) {
  const Tensor data =
      flat ? context.input(0).Reshaped({context.input(0).size()}) : context.input(0);
  axis = NormalizeAxis(flat ? 0 : axis, data.rank());
  const int64_t length = data.dim(axis);
  const auto condition = context.input(1).data<bool>();
  Shape chosen;
  for (int64_t i = 0; i < std::min(length, context.input(1).size()); ++i) {
    if (condition[static_cast<size_t>(i)]) chosen.push_back(i);
  }
  Shape shape = data.shape();
  shape[static_cast<size_t>(axis)] = static_cast<int64_t>(chosen.size());
  Tensor result(data.dtype(), shape);
  const int64_t outer = NumElements(shape, 0, axis);
  const int64_t run =
      NumElements(shape, axis + 1, data.rank()) * static_cast<int64_t>(ElementBytes(data.dtype()));
  std::byte* to = result.mutable_bytes().data();
  for (const int64_t index : chosen) {
    CopyRows(to, static_cast<int64_t>(chosen.size()) * run, data.bytes().data() + index * run,
             length * run, run, outer);
    to += run;
  }
  context.set_output(0, std::move(result));
}

}  // namespace

/// ai.onnx OneHot.
std::unique_ptr<Kernel> MakeOneHot(const Node& node) {
  return MakeKernel(
      [axis = node.Int("axis", -1)](KernelContext& context) { OneHot(context, axis); });
}

/// ai.onnx NonZero.
std::unique_ptr<Kernel> MakeNonZero(const Node&) { return MakeKernel(NonZero); }

/// ai.onnx Compress; without `axis` over the flattened input.
std::unique_ptr<Kernel> MakeCompress(const Node& node) {
  const bool flat = !node.HasAttribute("axis");
  return MakeKernel([flat, axis = node.Int("axis", 0)](KernelContext& context) {
    Compress(context, flat, axis);
  });
}

}  // namespace ptq
