// Weights that lie on a grid already, as quantization-aware training leaves them: which grid it is,
// and their codes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "ptq/quant/spec.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// The grid that elements of W[N, K] are known to lie on.
struct KnownGrid {
  struct Point {
    float scale = 1;
    int zero = 0;  ///< of unsigned codes
    [[nodiscard]] bool operator==(const Point&) const = default;
  };
  int bits = 8;  ///< of the codes
  /// Of the element [row, column]. Between two elements of a row that have the same lie no others.
  std::function<Point(int64_t row, int64_t column)> at;
};

/// The least of 2, 4 and 8 bits that hold every group of a weight.
struct GridBits {
  std::optional<int> symmetric;  ///< nothing: some group needs a zero point of its own
  int asymmetric = 8;
};

/// Whether each group of `group_size` weights (0: a row) holds nothing but multiples of one step,
/// at most 256 in a row, zero among them. The multiples are those of float32, or are rounded to
/// binary16 or bfloat16 where all weights of the group are such numbers; what the arithmetic of a
/// framework adds to them (2^-22 of the group's largest weight) is let pass. `known`, or null:
/// otherwise the largest step that fits is found. Nothing when some group does not.
[[nodiscard]] std::optional<GridBits> FindGrids(const MatrixRows& w, int64_t group_size,
                                                int most_bits, const KnownGrid* known);

/// The codes of a weight for which FindGrids told that the specification's bits hold it. Scales are
/// those that give the weights exactly where any do, rounded to the specification's type. Throws
/// InternalError for another weight.
[[nodiscard]] QuantizedMatrix CodesOnGrid(const MatrixRows& w, const QuantSpec& spec,
                                          const KnownGrid* known);

}  // namespace ptq
