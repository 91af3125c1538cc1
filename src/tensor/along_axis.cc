// Copies places of an axis as bytes, whatever the type.
#include "ptq/tensor/along_axis.h"

#include <cstring>

namespace ptq {
namespace {

/// Bytes of one place of an axis, for each index in front of it.
int64_t BytesBehind(const Tensor& tensor, int64_t axis) {
  if (BitsOf(tensor.dtype()) % 8 != 0 || BitsOf(tensor.dtype()) == 0) {
    throw UnsupportedError("no parts of a tensor of type " +
                           std::string(DTypeName(tensor.dtype())));
  }
  return BytesOf(tensor.dtype(), NumElements(tensor.shape(), axis + 1, tensor.rank()));
}

}  // namespace

Tensor PartAlong(const Tensor& tensor, int64_t axis, int64_t begin, int64_t count) {
  Shape shape = tensor.shape();
  shape[size_t(axis)] = count;
  Tensor part(tensor.dtype(), shape);
  if (part.size() == 0) return part;
  const int64_t place = BytesBehind(tensor, axis);
  const int64_t outer = NumElements(shape, 0, axis);
  const int64_t length = tensor.dim(axis);
  std::byte* const to = part.mutable_bytes().data();
  for (int64_t i = 0; i < outer; ++i) {
    const std::byte* const from = tensor.bytes().data() + (i * length + begin) * place;
    std::memcpy(to + i * count * place, from, size_t(count * place));
  }
  return part;
}

Tensor PlaceAlong(const Tensor& tensor, int64_t axis, int64_t place) {
  Shape shape = tensor.shape();
  shape.erase(shape.begin() + axis);
  return PartAlong(tensor, axis, place, 1).Reshaped(std::move(shape));
}

Tensor JoinAlong(std::span<const Tensor> parts, int64_t axis) {
  if (parts.empty()) throw InputError("there is nothing to join");
  axis = NormalizeAxis(axis, parts[0].rank());
  Shape shape = parts[0].shape();
  shape[size_t(axis)] = 0;
  for (const Tensor& part : parts) {
    Shape own = part.shape();
    const int64_t length = int64_t(own.size()) > axis ? own[size_t(axis)] : 0;
    if (int64_t(own.size()) > axis) own[size_t(axis)] = shape[size_t(axis)];
    if (own != shape || part.dtype() != parts[0].dtype()) {
      throw InputError("tensors of shapes " + ToString(parts[0].shape()) + " and " +
                       ToString(part.shape()) + " do not join along axis " + std::to_string(axis));
    }
    shape[size_t(axis)] += length;
  }
  Tensor joined(parts[0].dtype(), shape);
  if (joined.size() == 0) return joined;
  const int64_t place = BytesBehind(joined, axis);
  const int64_t outer = NumElements(shape, 0, axis);
  std::byte* const to = joined.mutable_bytes().data();
  int64_t done = 0;
  for (const Tensor& part : parts) {
    const int64_t bytes = part.dim(axis) * place;
    for (int64_t i = 0; i < outer && bytes > 0; ++i) {
      std::memcpy(to + (i * shape[size_t(axis)] + done) * place, part.bytes().data() + i * bytes,
                  size_t(bytes));
    }
    done += part.dim(axis);
  }
  return joined;
}

Tensor StackAlong(std::span<const Tensor> parts, int64_t axis) {
  if (parts.empty()) throw InputError("there is nothing to stack");
  axis = NormalizeAxis(axis, parts[0].rank() + 1);
  std::vector<Tensor> wider;
  wider.reserve(parts.size());
  for (const Tensor& part : parts) {
    Shape shape = part.shape();
    if (shape != parts[0].shape()) {
      throw InputError("tensors of shapes " + ToString(parts[0].shape()) + " and " +
                       ToString(shape) + " cannot be stacked");
    }
    shape.insert(shape.begin() + axis, 1);
    wider.push_back(part.Reshaped(std::move(shape)));
  }
  return JoinAlong(wider, axis);
}

}  // namespace ptq
