// What a quantized weight looks like: bits, groups, symmetry; and the codes themselves.
#pragma once

#include <cstdint>
#include <vector>

namespace ptq {

/// Type in which scales are stored: that of the linear's activations in the graph. Scales are
/// rounded to it before the codes are computed.
enum class ScaleType { kFloat32, kFloat16 };

/// The grid of one weight W[N, K]. Groups run along K.
struct QuantSpec {
  int bits = 4;              ///< of a code: 2, 3, 4 or 8
  int64_t group_size = 128;  ///< 0: one group a row ("channel")
  bool symmetric = true;     ///< zero point fixed at 2^(bits-1)
  ScaleType scale_type = ScaleType::kFloat32;

  [[nodiscard]] int64_t GroupSizeFor(int64_t k) const { return group_size > 0 ? group_size : k; }
  /// ceil(K / group_size)
  [[nodiscard]] int64_t GroupsFor(int64_t k) const {
    return (k + GroupSizeFor(k) - 1) / GroupSizeFor(k);
  }
  [[nodiscard]] int levels() const { return 1 << bits; }
  [[nodiscard]] int mid() const { return 1 << (bits - 1); }
};

/// (code − zero_point) · scale for rows of codes [rows, K], on this thread. `scales` and
/// `zero_points` are [rows, groups].
void DequantizeRows(const QuantSpec& spec, int64_t rows, int64_t k, const uint8_t* codes,
                    const float* scales, const uint8_t* zero_points, float* out);

/// Unpacked result for W[N, K]: w ≈ (code − zero_point) · scale.
struct QuantizedMatrix {
  QuantizedMatrix() = default;
  /// Zeros in the sizes that the specification gives.
  QuantizedMatrix(const QuantSpec& the_spec, int64_t rows, int64_t cols);

  QuantSpec spec;
  int64_t n = 0;
  int64_t k = 0;
  std::vector<uint8_t> codes;        ///< [N, K], each in [0, 2^bits)
  std::vector<float> scales;         ///< [N, groups]; exactly representable in spec.scale_type
  std::vector<uint8_t> zero_points;  ///< [N, groups]; all 2^(bits-1) when symmetric

  /// W as the runtime will see it, row-major [N, K]. `out` holds N·K floats.
  void Dequantize(float* out) const;
  /// The rows [begin, end) of it, on this thread.
  void DequantizeRows(int64_t begin, int64_t end, float* out) const;
};

}  // namespace ptq
