// Unpacks, packs and dequantizes integers, and holds the codebooks FP4 and NF4.
#include "ptq/tensor/packed_integers.h"

#include <algorithm>
#include <array>
#include <string>

#include "ptq/base/error.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

using Codebook = std::array<float, 16>;

/// Bit 3 is the sign. Dettmers et al., QLoRA (2023), and the bitsandbytes library.
constexpr Codebook kFp4 = {0.0f,      1.0f / 192, 2.0f / 3,  1.0f,        1.0f / 3,  1.0f / 2,
                           1.0f / 6,  1.0f / 4,   -0.0f,     -1.0f / 192, -2.0f / 3, -1.0f,
                           -1.0f / 3, -1.0f / 2,  -1.0f / 6, -1.0f / 4};
constexpr Codebook kNf4 = {-1.0f,
                           -0.6961928009986877f,
                           -0.5250730514526367f,
                           -0.39491748809814453f,
                           -0.28444138169288635f,
                           -0.18477343022823334f,
                           -0.09105003625154495f,
                           0.0f,
                           0.07958029955625534f,
                           0.16093020141124725f,
                           0.24611230194568634f,
                           0.33791524171829224f,
                           0.44070982933044434f,
                           0.5626170039176941f,
                           0.7229568362236023f,
                           1.0f};

template <class T>
void CopyIntegers(const Tensor& tensor, int64_t begin, std::vector<int32_t>& out) {
  const T* from = tensor.data<T>().data() + begin;
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): the sign of an int8 code is meant
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(from[i]);
}

void CopyPacked(const Tensor& tensor, int64_t begin, int bits, bool is_signed,
                std::vector<int32_t>& out) {
  std::vector<uint8_t> codes(out.size());
  UnpackBits(reinterpret_cast<const uint8_t*>(tensor.bytes().data()), bits, begin,
             static_cast<int64_t>(out.size()), codes.data());
  const int32_t sign = is_signed ? 1 << (bits - 1) : 0;
  for (size_t i = 0; i < out.size(); ++i) {
    // Sign extension: flip the sign bit, then take its weight off again.
    out[i] = (static_cast<int32_t>(codes[i]) ^ sign) - sign;
  }
}

/// Two codes a byte, the first in the lower half.
PTQ_VECTOR_CLONES void DequantizePairs(const uint8_t* bytes, int64_t pairs, float scale,
                                       float zero_point, float* out) {
  for (int64_t i = 0; i < pairs; ++i) {
    out[2 * i] = (static_cast<float>(bytes[i] & 15) - zero_point) * scale;
    out[2 * i + 1] = (static_cast<float>(bytes[i] >> 4) - zero_point) * scale;
  }
}

/// Writes the low bits of codes, several a byte.
void Pack(std::span<const int32_t> codes, int bits, std::span<std::byte> bytes) {
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  const int per_byte = 8 / bits;
  const int32_t mask = (1 << bits) - 1;
  for (size_t i = 0; i < codes.size(); ++i) {
    const int shift = static_cast<int>(i % static_cast<size_t>(per_byte)) * bits;
    bytes[i / static_cast<size_t>(per_byte)] |= static_cast<std::byte>((codes[i] & mask) << shift);
  }
}

}  // namespace

void UnpackBits(const uint8_t* bytes, int bits, int64_t begin, int64_t count, uint8_t* codes) {
  const unsigned mask = (1u << bits) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t bit = (begin + i) * bits;
    const int shift = static_cast<int>(bit % 8);
    unsigned value = bytes[bit / 8] >> shift;
    if (shift + bits > 8) value |= static_cast<unsigned>(bytes[bit / 8 + 1]) << (8 - shift);
    codes[i] = static_cast<uint8_t>(value & mask);
  }
}

void DequantizeCodes(const uint8_t* bytes, int bits, int64_t count, float scale, float zero_point,
                     float* out) {
  if (bits == 8) {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = (static_cast<float>(bytes[i]) - zero_point) * scale;
    }
    return;
  }
  if (bits == 4) {
    DequantizePairs(bytes, count / 2, scale, zero_point, out);
    if (count % 2 != 0) {
      out[count - 1] = (static_cast<float>(bytes[count / 2] & 15) - zero_point) * scale;
    }
    return;
  }
  float table[4];
  for (int code = 0; code < 4; ++code)
    table[code] = (static_cast<float>(code) - zero_point) * scale;
  for (int64_t i = 0; i < count; ++i) out[i] = table[(bytes[i / 4] >> (2 * (i % 4))) & 3];
}

std::vector<int32_t> UnpackIntegers(const Tensor& tensor, int64_t begin, int64_t count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  switch (tensor.dtype()) {
    case DType::kInt8: CopyIntegers<int8_t>(tensor, begin, out); break;
    case DType::kUint8: CopyIntegers<uint8_t>(tensor, begin, out); break;
    case DType::kInt16: CopyIntegers<int16_t>(tensor, begin, out); break;
    case DType::kUint16: CopyIntegers<uint16_t>(tensor, begin, out); break;
    case DType::kInt32: CopyIntegers<int32_t>(tensor, begin, out); break;
    case DType::kInt4: CopyPacked(tensor, begin, 4, true, out); break;
    case DType::kUint4: CopyPacked(tensor, begin, 4, false, out); break;
    case DType::kInt2: CopyPacked(tensor, begin, 2, true, out); break;
    case DType::kUint2: CopyPacked(tensor, begin, 2, false, out); break;
    default:
      throw UnsupportedError("quantized values of type " + std::string(DTypeName(tensor.dtype())) +
                             " are not supported");
  }
  return out;
}

Tensor PackIntegers(DType dtype, const Shape& shape, std::span<const int32_t> codes) {
  Tensor out(dtype, shape);
  const auto copy = [&](auto to) { std::ranges::copy(codes, to.begin()); };
  switch (dtype) {
    case DType::kInt8: copy(out.mutable_data<int8_t>()); break;
    case DType::kUint8: copy(out.mutable_data<uint8_t>()); break;
    case DType::kInt16: copy(out.mutable_data<int16_t>()); break;
    case DType::kUint16: copy(out.mutable_data<uint16_t>()); break;
    default: Pack(codes, BitsOf(dtype), out.mutable_bytes());
  }
  return out;
}

std::span<const float, 16> FloatCodebook(int type) { return type == 0 ? kFp4 : kNf4; }

IntegerRange RangeOf(DType dtype) {
  switch (dtype) {
    case DType::kInt8: return {-128, 127};
    case DType::kUint8: return {0, 255};
    case DType::kInt16: return {-32768, 32767};
    case DType::kUint16: return {0, 65535};
    case DType::kInt32: return {INT32_MIN, INT32_MAX};
    case DType::kInt4: return {-8, 7};
    case DType::kUint4: return {0, 15};
    case DType::kInt2: return {-2, 1};
    case DType::kUint2: return {0, 3};
    default:
      throw UnsupportedError("quantization to " + std::string(DTypeName(dtype)) +
                             " is not supported");
  }
}

bool IsInteger(DType dtype) {
  switch (dtype) {
    case DType::kUint8:
    case DType::kInt8:
    case DType::kUint16:
    case DType::kInt16:
    case DType::kUint32:
    case DType::kInt32:
    case DType::kUint64:
    case DType::kInt64:
    case DType::kUint4:
    case DType::kInt4:
    case DType::kUint2:
    case DType::kInt2: return true;
    default: return false;
  }
}

}  // namespace ptq
