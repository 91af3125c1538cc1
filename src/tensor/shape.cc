// Counts elements, computes strides, and broadcasts as the specification says.
#include "ptq/tensor/shape.h"

#include <algorithm>
#include <cstdint>

#include "ptq/base/error.h"

namespace ptq {

namespace {

/// 2^47: their bytes, and sums of several such numbers, are far from the ends of int64_t.
constexpr int64_t kMostElements = int64_t{1} << 47;
constexpr int64_t kMostEmptyRows = int64_t{1} << 30;

}  // namespace

void Shape::RefusePlace(size_t i) const {
  const std::string place = i == SIZE_MAX ? "last one" : "number " + std::to_string(i);
  throw InputError("of the integers " + ToString(*this) + ", the " + place +
                   " is needed, which is not there");
}

int64_t NumElements(std::span<const int64_t> shape) {
  int64_t count = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    empty = empty || dim == 0;
    const bool fits = dim == 0 || !__builtin_mul_overflow(count, dim, &count);
    if (!fits || count > kMostElements || count < -kMostElements) {
      throw InputError("shape " + ToString(shape) + " has more elements than a machine can hold");
    }
  }
  if (!empty) return count;
  if (count > kMostEmptyRows || count < -kMostEmptyRows) {
    throw InputError("shape " + ToString(shape) + " is empty, and too large beside that");
  }
  return 0;
}

int64_t NumElements(std::span<const int64_t> shape, int64_t begin, int64_t end) {
  if (begin < 0 || end < begin || end > std::ssize(shape)) {
    throw InputError("shape " + ToString(shape) + " has no dimensions " + std::to_string(begin) +
                     " to " + std::to_string(end));
  }
  return NumElements(shape.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
}

bool MakeUp(std::span<const int64_t> lengths, int64_t total) {
  for (const int64_t length : lengths) {
    if (length < 0 || length > total) return false;
    total -= length;
  }
  return total == 0;
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
  static_cast<void>(NumElements(shape));  // then no product of some of them overflows
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
