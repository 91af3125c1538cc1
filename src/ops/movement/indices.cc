// Checks indices against the axes that they point into, and turns them into flat offsets.
#include "indices.h"

#include <string>

#include "ptq/base/error.h"

namespace ptq {

int64_t NormalizeIndex(int64_t index, int64_t length) {
  const int64_t normal = index < 0 ? index + length : index;
  if (normal < 0 || normal >= length) {
    throw InputError("index " + std::to_string(index) + " is outside an axis of " +
                     std::to_string(length) + " elements");
  }
  return normal;
}

std::vector<int64_t> NormalIndices(const Tensor& indices, int64_t length) {
  std::vector<int64_t> result = indices.ToInt64s();
  for (int64_t& index : result) index = NormalizeIndex(index, length);
  return result;
}

std::vector<int64_t> ElementOffsets(const Tensor& indices, const Shape& shape, int64_t axis) {
  const auto along = static_cast<size_t>(axis);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i != along && indices.shape()[i] > shape[i]) {
      throw InputError("indices of shape " + ToString(indices.shape()) + " reach outside " +
                       ToString(shape));
    }
  }
  std::vector<int64_t> offsets = NormalIndices(indices, shape[along]);
  const auto strides = RowMajorStrides(shape);
  Shape at(shape.size(), 0);
  int64_t base = 0;  // offset of the coordinates without the one along the axis
  for (int64_t& offset : offsets) {
    offset = base + offset * strides[along];
    for (size_t i = shape.size(); i-- > 0;) {
      const int64_t step = i == along ? 0 : strides[i];
      base += step;
      if (++at[i] < indices.shape()[i]) break;
      base -= step * at[i];
      at[i] = 0;
    }
  }
  return offsets;
}

std::vector<int64_t> TupleOffsets(const Tensor& indices, const Shape& shape, int64_t batch_dims) {
  const int64_t tuple = indices.dim(-1);
  const auto strides = RowMajorStrides(shape);
  const auto values = indices.ToInt64s();
  const int64_t count = NumElements(indices.shape(), 0, indices.rank() - 1);
  int64_t batches = 1;
  for (int64_t i = 0; i < batch_dims; ++i) {
    if (indices.dim(i) != shape[static_cast<size_t>(i)]) {
      throw InputError("indices of shape " + ToString(indices.shape()) + " and data of shape " +
                       ToString(shape) + " differ in their batch dimensions");
    }
    batches *= indices.dim(i);
  }
  const int64_t per_batch = batches == 0 ? 0 : count / batches;
  const int64_t batch_size = NumElements(shape, batch_dims, static_cast<int64_t>(shape.size()));
  Shape offsets(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    int64_t offset = i / per_batch * batch_size;
    for (int64_t j = 0; j < tuple; ++j) {
      const auto axis = static_cast<size_t>(batch_dims + j);
      offset +=
          NormalizeIndex(values[static_cast<size_t>(i * tuple + j)], shape[axis]) * strides[axis];
    }
    offsets[static_cast<size_t>(i)] = offset;
  }
  return offsets;
}

}  // namespace ptq
