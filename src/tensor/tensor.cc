// Allocates aligned memory, copies on the first write, and casts between the numeric types.
#include "ptq/tensor/tensor.h"

#include <limits>
#include <new>

#include "ptq/base/format.h"
#include "ptq/base/half.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Elements that one task converts.
constexpr int64_t kCastTile = 1 << 16;

std::shared_ptr<const void> Allocate(int64_t bytes) {
  // 64-byte alignment: a cache line, and the widest vector registers.
  constexpr std::align_val_t kAlignment{64};
  void* memory = ::operator new(static_cast<size_t>(bytes), kAlignment, std::nothrow);
  if (memory == nullptr) {
    throw ResourceError("out of memory: " + FormatBytes(bytes) +
                        " more were needed; lower --seq-len or --calib-samples");
  }
  return {memory, [](void* p) { ::operator delete(p, kAlignment); }};
}

int64_t CheckedSize(const Shape& shape) {
  for (const int64_t dim : shape) {
    if (dim < 0) throw InputError("negative dimension in shape " + ToString(shape));
  }
  return NumElements(shape);
}

/// Calls `visit` with a null pointer of the C++ type that stores `dtype`.
template <class Visitor>
void VisitNumeric(DType dtype, Visitor&& visit) {
  switch (dtype) {
    case DType::kFloat32: return visit(static_cast<float*>(nullptr));
    case DType::kFloat64: return visit(static_cast<double*>(nullptr));
    case DType::kFloat16: return visit(static_cast<Half*>(nullptr));
    case DType::kBFloat16: return visit(static_cast<BFloat16*>(nullptr));
    case DType::kUint8: return visit(static_cast<uint8_t*>(nullptr));
    case DType::kInt8: return visit(static_cast<int8_t*>(nullptr));
    case DType::kUint16: return visit(static_cast<uint16_t*>(nullptr));
    case DType::kInt16: return visit(static_cast<int16_t*>(nullptr));
    case DType::kUint32: return visit(static_cast<uint32_t*>(nullptr));
    case DType::kInt32: return visit(static_cast<int32_t*>(nullptr));
    case DType::kUint64: return visit(static_cast<uint64_t*>(nullptr));
    case DType::kInt64: return visit(static_cast<int64_t*>(nullptr));
    case DType::kBool: return visit(static_cast<bool*>(nullptr));
    default:
      throw UnsupportedError("no conversion for element type " + std::string(DTypeName(dtype)));
  }
}

template <class T>
inline constexpr bool kIsHalf = std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;

template <class From>
auto Widen(From value) {
  if constexpr (kIsHalf<From>) {
    return ToFloat(value);
  } else {
    return value;
  }
}

template <class To, class Value>
To ConvertTo(Value value) {
  if constexpr (std::is_same_v<To, Half>) {
    return ToHalf(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return ToBFloat16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != Value{};
  } else if constexpr (std::is_floating_point_v<Value> && std::is_integral_v<To>) {
    // Out-of-range float to integer is undefined in C++; saturate, and NaN gives the minimum.
    constexpr auto kLow = std::numeric_limits<To>::min();
    constexpr auto kHigh = std::numeric_limits<To>::max();
    if (!(value >= static_cast<Value>(kLow))) return kLow;
    if (value >= static_cast<Value>(kHigh)) return kHigh;
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

template <class From, class To>
void CastAll(std::span<const From> from, std::span<To> to) {
  constexpr bool kWidens = kIsHalf<From> && std::is_same_v<To, float>;
  constexpr bool kNarrows = std::is_same_v<From, float> && kIsHalf<To>;
  if constexpr (kWidens || kNarrows) {
    Convert(from, to);
  } else {
    for (size_t i = 0; i < to.size(); ++i) to[i] = ConvertTo<To>(Widen(from[i]));
  }
}

}  // namespace

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), owned_(true), shape_(std::move(shape)), size_(CheckedSize(shape_)) {
  storage_ = Allocate(std::max<int64_t>(1, BytesOf(dtype_, size_)));
  raw_ = static_cast<const std::byte*>(storage_.get());
}

Tensor Tensor::View(DType dtype, Shape shape, std::span<const std::byte> bytes,
                    std::shared_ptr<const void> owner) {
  const int64_t size = CheckedSize(shape);
  const auto needed = static_cast<size_t>(BytesOf(dtype, size));
  if (bytes.size() < needed) {
    throw InputError("a tensor of shape " + ToString(shape) + " and type " +
                     std::string(DTypeName(dtype)) + " needs " + std::to_string(needed) +
                     " bytes, only " + std::to_string(bytes.size()) + " are there");
  }
  const auto alignment = static_cast<uintptr_t>(std::max(1, BitsOf(dtype) / 8));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignment != 0) {
    Tensor copy(dtype, std::move(shape));
    std::memcpy(copy.mutable_bytes().data(), bytes.data(), needed);
    return copy;
  }
  Tensor view;
  view.dtype_ = dtype;
  view.shape_ = std::move(shape);
  view.size_ = size;
  view.storage_ = std::move(owner);
  view.raw_ = bytes.data();
  return view;
}

void Tensor::Require(DType dtype) const {
  if (dtype_ != dtype) {
    throw InputError("expected elements of type " + std::string(DTypeName(dtype)) + ", found " +
                     std::string(DTypeName(dtype_)));
  }
}

void Tensor::MakeUnique() {
  if (IsUnique()) return;
  const auto size = bytes().size();
  auto storage = Allocate(std::max<int64_t>(1, static_cast<int64_t>(size)));
  if (size > 0) std::memcpy(const_cast<void*>(storage.get()), raw_, size);
  storage_ = std::move(storage);
  raw_ = static_cast<const std::byte*>(storage_.get());
  owned_ = true;
}

Tensor Tensor::Reshaped(Shape shape) const {
  if (CheckedSize(shape) != size_) {
    throw InputError("cannot reshape " + ToString(shape_) + " to " + ToString(shape));
  }
  Tensor result = *this;
  result.shape_ = std::move(shape);
  return result;
}

Tensor Tensor::Widened() const { return IsFloat(dtype_) ? ToFloat32() : *this; }

Tensor Tensor::ToFloat32() const {
  if (!IsFloat(dtype_)) {
    throw InputError("expected a float tensor, found " + std::string(DTypeName(dtype_)));
  }
  return Cast(DType::kFloat32);
}

Tensor Tensor::Cast(DType to) const {
  if (to == dtype_) return *this;
  Tensor result(to, shape_);
  VisitNumeric(dtype_, [&](auto* from_tag) {
    using From = std::remove_pointer_t<decltype(from_tag)>;
    const auto from = data<From>();
    VisitNumeric(to, [&](auto* to_tag) {
      using To = std::remove_pointer_t<decltype(to_tag)>;
      const auto out = result.mutable_data<To>();
      ParallelForTiles(size_, kCastTile, [&](int64_t begin, int64_t end) {
        const auto count = static_cast<size_t>(end - begin);
        const auto part = from.subspan(static_cast<size_t>(begin), count);
        CastAll(part, out.subspan(static_cast<size_t>(begin), count));
      });
    });
  });
  return result;
}

Shape Tensor::ToInt64s() const {
  if (IsFloat(dtype_))
    throw InputError("expected integers, found " + std::string(DTypeName(dtype_)));
  const Tensor wide = Cast(DType::kInt64);
  const auto values = wide.data<int64_t>();
  return {values.begin(), values.end()};
}

}  // namespace ptq
