// The grid of a tensor whose floats are computed from codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ptq {

/// Where the scale of an element stands: Σ index · stride, with an axis counted in blocks.
struct ScaleLayout {
  int64_t length = 1;  ///< of the axis
  int64_t inner = 1;   ///< elements inside it
  int64_t block = 1;
  int64_t outer_stride = 0;
  int64_t block_stride = 0;
  int64_t inner_stride = 0;
  int64_t count = 1;  ///< how many scales there must be

  /// `element`: counted in row-major order.
  [[nodiscard]] size_t At(int64_t element) const {
    return static_cast<size_t>(element / (inner * length) * outer_stride +
                               element / inner % length / block * block_stride +
                               element % inner * inner_stride);
  }
};

/// An element is (code - zero) · scale, with those at layout.At(element).
struct StoredGrid {
  ScaleLayout layout;
  int bits = 8;  ///< of a code
  std::vector<float> scales;
  std::vector<int> zeros;  ///< of unsigned codes
};

}  // namespace ptq
