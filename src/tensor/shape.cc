// Counts elements, computes strides, and broadcasts as the specification says.
#include "ptq/tensor/shape.h"

#include <algorithm>

#include "ptq/base/error.h"

namespace ptq {

int64_t NumElements(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

int64_t NumElements(std::span<const int64_t> shape, int64_t begin, int64_t end) {
  return NumElements(shape.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
}

std::string ToString(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

Shape BroadcastShapes(std::span<const int64_t> a, std::span<const int64_t> b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape result(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      throw InputError("shapes " + ToString(a) + " and " + ToString(b) + " do not broadcast");
    }
    result[rank - 1 - i] = x == 1 ? y : x;
  }
  return result;
}

std::vector<int64_t> RowMajorStrides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::vector<int64_t> BroadcastStrides(std::span<const int64_t> shape,
                                      std::span<const int64_t> target) {
  if (shape.size() > target.size()) {
    throw InputError("shape " + ToString(shape) + " does not broadcast to " + ToString(target));
  }
  const auto own = RowMajorStrides(shape);
  std::vector<int64_t> strides(target.size(), 0);
  const size_t offset = target.size() - shape.size();
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1 && shape[i] != target[offset + i]) {
      throw InputError("shape " + ToString(shape) + " does not broadcast to " + ToString(target));
    }
    strides[offset + i] = shape[i] == 1 ? 0 : own[i];
  }
  return strides;
}

int64_t NormalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    throw InputError("axis " + std::to_string(axis) + " is outside a tensor of rank " +
                     std::to_string(rank));
  }
  return axis < 0 ? axis + rank : axis;
}

}  // namespace ptq
