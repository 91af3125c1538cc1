// Operators that read elements where indices point.
#include <algorithm>
#include <cstring>

#include "indices.h"
#include "strided.h"

#include "ptq/base/parallel.h"
#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Elements of one parallel tile.
constexpr int64_t kTileElements = 32 * 1024;

/// Copies blocks of `block` elements: block i of the result from element offsets[i] of the source.
void CopyBlocks(Tensor& result, const Tensor& source, const Shape& offsets, int64_t block) {
  const auto width = static_cast<int64_t>(ElementBytes(source.dtype()));
  const std::byte* from = source.bytes().data();
  std::byte* to = result.mutable_bytes().data();
  const auto bytes = static_cast<size_t>(block * width);
  if (bytes == 0) return;
  ParallelForTiles(static_cast<int64_t>(offsets.size()),
                   std::max<int64_t>(1, kTileElements / block), [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       std::memcpy(to + i * static_cast<int64_t>(bytes),
                                   from + offsets[static_cast<size_t>(i)] * width, bytes);
                     }
                   });
}

Tensor Gather(const Tensor& data, const Tensor& indices, int64_t axis) {
  axis = NormalizeAxis(axis, data.rank());
  const int64_t length = data.dim(axis);
  Shape shape(data.shape().begin(), data.shape().begin() + axis);
  shape.insert(shape.end(), indices.shape().begin(), indices.shape().end());
  shape.insert(shape.end(), data.shape().begin() + axis + 1, data.shape().end());
  Tensor result(data.dtype(), std::move(shape));
  if (result.size() == 0) return result;
  const auto chosen = NormalIndices(indices, length);
  const int64_t outer = NumElements(data.shape(), 0, axis);
  const int64_t inner = NumElements(data.shape(), axis + 1, data.rank());
  Shape offsets;
  offsets.reserve(static_cast<size_t>(outer) * chosen.size());
  for (int64_t row = 0; row < outer; ++row) {
    for (const int64_t index : chosen) offsets.push_back((row * length + index) * inner);
  }
  CopyBlocks(result, data, offsets, inner);
  return result;
}

Tensor GatherElements(const Tensor& data, const Tensor& indices, int64_t axis) {
  axis = NormalizeAxis(axis, data.rank());
  if (indices.rank() != data.rank()) {
    throw InputError("GatherElements: data and indices differ in rank");
  }
  Tensor result(data.dtype(), indices.shape());
  if (result.size() == 0) return result;
  const auto offsets = ElementOffsets(indices, data.shape(), axis);
  CopyBlocks(result, data, offsets, 1);
  return result;
}

Tensor GatherNd(const Tensor& data, const Tensor& indices, int64_t batch_dims) {
  if (batch_dims < 0 || batch_dims >= indices.rank() || batch_dims > data.rank()) {
    throw InputError("GatherND: indices of shape " + ToString(indices.shape()) +
                     " do not fit data of shape " + ToString(data.shape()));
  }
  const int64_t tuple = indices.dim(-1);
  if (batch_dims + tuple > data.rank()) {
    throw InputError("GatherND: tuples of " + std::to_string(tuple) +
                     " indices into data of shape " + ToString(data.shape()));
  }
  Shape shape(indices.shape().begin(), indices.shape().end() - 1);
  shape.insert(shape.end(), data.shape().begin() + batch_dims + tuple, data.shape().end());
  Tensor result(data.dtype(), std::move(shape));
  if (result.size() == 0) return result;
  CopyBlocks(result, data, TupleOffsets(indices, data.shape(), batch_dims),
             NumElements(data.shape(), batch_dims + tuple, data.rank()));
  return result;
}

}  // namespace

/// ai.onnx Gather.
std::unique_ptr<Kernel> MakeGather(const Node& node) {
  return MakeKernel([axis = node.Int("axis", 0)](KernelContext& context) {
    context.set_output(0, Gather(context.input(0), context.input(1), axis));
  });
}

/// ai.onnx GatherElements.
std::unique_ptr<Kernel> MakeGatherElements(const Node& node) {
  return MakeKernel([axis = node.Int("axis", 0)](KernelContext& context) {
    context.set_output(0, GatherElements(context.input(0), context.input(1), axis));
  });
}

/// ai.onnx GatherND; `batch_dims` since opset 12.
std::unique_ptr<Kernel> MakeGatherNd(const Node& node) {
  return MakeKernel([batch = node.Int("batch_dims", 0)](KernelContext& context) {
    context.set_output(0, GatherNd(context.input(0), context.input(1), batch));
  });
}

}  // namespace ptq
