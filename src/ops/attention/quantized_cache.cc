// Converts a cache row by row, with one scale or one for each value of a head.
#include "quantized_cache.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "array.h"

namespace ptq {
namespace {

/// Calls body(row, scales of its head, stride of the scales) for every row of D values, in
/// parallel. `width` values are in a row, the shape is that of the codes or of the values.
template <class Body>
void ForEachRow(const Shape& shape, int64_t width, const Tensor& scale, const Body& body) {
  const int64_t heads = shape[1];
  const bool shared = scale.size() == 1;
  if (!shared && scale.size() != heads * width) {
    throw InputError("scales of shape " + ToString(scale.shape()) + " do not fit a cache of " +
                     std::to_string(heads) + " heads of " + std::to_string(width));
  }
  const float* scales = scale.data<float>().data();
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, width));
  ParallelForTiles(NumElements(shape, 0, 3), grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t head = row / std::max<int64_t>(1, shape[2]) % heads;
      body(row, shared ? scales : scales + head * width, shared ? 0 : 1);
    }
  });
}

}  // namespace

Tensor DequantizeCache(const Tensor& codes, const Tensor& scale, int bits) {
  const DType expected = bits == 4 ? DType::kUint8 : DType::kInt8;
  if (codes.rank() != 4 || codes.dtype() != expected) {
    throw InputError("a cache of " + std::to_string(bits) + " bits must be " +
                     std::string(DTypeName(expected)) + " of four dimensions, it is " +
                     std::string(DTypeName(codes.dtype())) + " " + ToString(codes.shape()));
  }
  Shape shape = codes.shape();
  if (bits == 4) shape[3] *= 2;
  const int64_t width = shape[3];
  Tensor out(DType::kFloat32, shape);
  float* to = out.mutable_data<float>().data();
  const auto* bytes = reinterpret_cast<const uint8_t*>(codes.bytes().data());
  ForEachRow(shape, width, scale, [&](int64_t row, const float* scales, int64_t stride) {
    for (int64_t d = 0; d < width; ++d) {
      const int64_t at = row * width + d;
      const int code = bits == 4 ? ((bytes[at / 2] >> (4 * (d % 2))) & 15) - 8
                                 : static_cast<int>(static_cast<int8_t>(bytes[at]));
      to[at] = static_cast<float>(code) * scales[d * stride];
    }
  });
  return out;
}

Tensor QuantizeCache(const Tensor& values, const Shape& rows, const Tensor& scale, int bits) {
  Shape shape = values.shape();
  const int64_t width = shape[3];
  if (bits == 4 && width % 2 != 0) throw InputError("a 4-bit cache needs heads of even size");
  if (bits == 4) shape[3] /= 2;
  Tensor out(bits == 4 ? DType::kUint8 : DType::kInt8, shape);
  auto* bytes = reinterpret_cast<uint8_t*>(out.mutable_bytes().data());
  std::fill_n(bytes, out.size(), uint8_t{0});
  const float* from = values.data<float>().data();
  const float limit = bits == 4 ? 8.0f : 128.0f;
  ForEachRow(values.shape(), width, scale, [&](int64_t row, const float* scales, int64_t stride) {
    const int64_t sequence = row / std::max<int64_t>(1, shape[1] * shape[2]);
    if (row % shape[2] >= rows[static_cast<size_t>(sequence)]) return;
    const auto code = [&](int64_t d) {
      const float x = from[row * width + d] / scales[d * stride];
      return static_cast<int>(std::clamp(std::nearbyint(x), -limit, limit - 1.0f));
    };
    for (int64_t d = 0; d < width; d += bits == 4 ? 2 : 1) {
      bytes[(row * width + d) * bits / 8] =
          bits == 4 ? static_cast<uint8_t>((code(d) + 8) | ((code(d + 1) + 8) << 4))
                    : static_cast<uint8_t>(code(d));
    }
  });
  return out;
}

}  // namespace ptq
