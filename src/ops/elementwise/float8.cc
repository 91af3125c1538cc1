// Decodes by a table of all 256 codes, and encodes by a search in its magnitudes.
#include "float8.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "ptq/base/error.h"

namespace ptq {
namespace {

struct Format {
  int fraction_bits;
  int bias;
  uint8_t largest;   ///< code of the largest number
  uint8_t overflow;  ///< code of infinity, or of NaN where there is none
  uint8_t nan;
  bool signed_zero;
};

Format FormatOf(DType dtype) {
  if (dtype == kFloat8E4M3FN) return {3, 7, 0x7e, 0x7f, 0x7f, true};
  if (dtype == kFloat8E4M3FNUZ) return {3, 8, 0x7f, 0x80, 0x80, false};
  if (dtype == kFloat8E5M2) return {2, 15, 0x7b, 0x7c, 0x7f, true};
  if (dtype == kFloat8E5M2FNUZ) return {2, 16, 0x7f, 0x80, 0x80, false};
  throw InternalError("not an 8-bit float type: " + std::string(DTypeName(dtype)));
}

/// The value of a code up to that of the largest number.
float Magnitude(const Format& format, int code) {
  const int exponent = code >> format.fraction_bits;
  const int fraction = code & ((1 << format.fraction_bits) - 1);
  const int whole = exponent == 0 ? 0 : 1 << format.fraction_bits;
  return std::ldexp(static_cast<float>(whole + fraction),
                    std::max(exponent, 1) - format.bias - format.fraction_bits);
}

std::array<float, 256> ValuesOf(const Format& format) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  std::array<float, 256> values;
  values.fill(kNaN);
  for (int code = 0; code <= format.largest; ++code) {
    values[static_cast<size_t>(code)] = Magnitude(format, code);
    values[static_cast<size_t>(code) + 128] = -Magnitude(format, code);
  }
  if (!format.signed_zero) values[0x80] = kNaN;
  if (format.overflow != format.nan) {
    values[format.overflow] = std::numeric_limits<float>::infinity();
    values[format.overflow + size_t{128}] = -std::numeric_limits<float>::infinity();
  }
  return values;
}

uint8_t Encode(const Format& format, std::span<const float> magnitudes, float value,
               bool saturate) {
  if (std::isnan(value)) return format.nan;
  const float magnitude = std::abs(value);
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const auto above = std::ranges::upper_bound(magnitudes, magnitude);
  auto code = static_cast<int>(above - magnitudes.begin()) - 1;
  // Beyond the largest number the next one would be as far away as that before it.
  const float low = magnitudes[static_cast<size_t>(code)];
  const float high =
      above != magnitudes.end() ? *above : 2 * low - magnitudes[static_cast<size_t>(code - 1)];
  const float middle = low + (high - low) / 2;
  if (magnitude > middle || (magnitude == middle && code % 2 == 1)) ++code;
  if (code > format.largest) {
    if (!saturate) return format.overflow == 0x80 ? 0x80 : format.overflow | sign;
    code = format.largest;
  }
  if (code == 0 && !format.signed_zero) return 0;
  return static_cast<uint8_t>(code) | sign;
}

}  // namespace

bool IsFloat8(DType dtype) {
  return dtype == kFloat8E4M3FN || dtype == kFloat8E4M3FNUZ || dtype == kFloat8E5M2 ||
         dtype == kFloat8E5M2FNUZ;
}

Tensor FromFloat8(const Tensor& codes) {
  const auto values = ValuesOf(FormatOf(codes.dtype()));
  Tensor out(DType::kFloat32, codes.shape());
  const auto bytes = codes.bytes();
  const auto to = out.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = values[static_cast<size_t>(bytes[i])];
  return out;
}

Tensor ToFloat8(const Tensor& values, DType dtype, bool saturate) {
  const Format format = FormatOf(dtype);
  const auto all = ValuesOf(format);
  const std::span<const float> magnitudes(all.data(), size_t{format.largest} + 1);
  Tensor out(dtype, values.shape());
  const auto from = values.data<float>();
  const auto bytes = out.mutable_bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(Encode(format, magnitudes, from[i], saturate));
  }
  return out;
}

}  // namespace ptq
