// What a quantized weight looks like: bits, groups, symmetry; and the codes themselves.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/quant/levels.h"

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
  /// What codes stand for; null: uniform levels, code − zero point. Else zero points are 0.
  const Levels* codebook = nullptr;

  [[nodiscard]] bool uniform() const { return codebook == nullptr; }
  [[nodiscard]] int64_t GroupSizeFor(int64_t k) const { return group_size > 0 ? group_size : k; }
  /// ceil(K / group_size)
  [[nodiscard]] int64_t GroupsFor(int64_t k) const {
    return (k + GroupSizeFor(k) - 1) / GroupSizeFor(k);
  }
  /// How many there are: codes are less.
  [[nodiscard]] int levels() const { return uniform() ? 1 << bits : codebook->count(); }
  [[nodiscard]] int mid() const { return 1 << (bits - 1); }
  /// What a code stands for, in units of the scale.
  [[nodiscard]] float Level(int code, int zero_point) const {
    return uniform() ? float(code - zero_point) : codebook->value(code);
  }
};

/// Level(code, zero_point) · scale for rows of codes [rows, K], on this thread. `scales` and
/// `zero_points` are [rows, groups].
void DequantizeRows(const QuantSpec& spec, int64_t rows, int64_t k, const uint8_t* codes,
                    const float* scales, const uint8_t* zero_points, float* out);

/// Unpacked result for W[N, K]: w ≈ Level(code, zero_point) · scale.
struct QuantizedMatrix {
  QuantizedMatrix() = default;
  /// Zeros in the sizes that the specification gives.
  QuantizedMatrix(const QuantSpec& the_spec, int64_t rows, int64_t cols);

  QuantSpec spec;
  int64_t n = 0;
  int64_t k = 0;
  std::vector<uint8_t> codes;  ///< [N, K], each in [0, levels())
  std::vector<float> scales;   ///< [N, groups]; exactly representable in spec.scale_type
  std::vector<uint8_t>
      zero_points;  ///< [N, groups]; all 2^(bits-1) when symmetric, 0 of a codebook

  /// W as the runtime will see it, row-major [N, K]. `out` holds N·K floats.
  void Dequantize(float* out) const;
  /// The rows [begin, end) of it, on this thread.
  void DequantizeRows(int64_t begin, int64_t end, float* out) const;
};

}  // namespace ptq
