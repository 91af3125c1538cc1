// A weight whose floats are computed from stored codes whenever somebody reads them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/stored_grid.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

class WeightReader;

/// Where the codes of a weight and what belongs to them lie. An element is
/// (code - zero point) · scale, or a codebook's value · scale.
struct QuantizedWeight {
  using Stored = std::shared_ptr<const onnx::TensorProto>;
  Stored codes;  ///< floats: their codes are those that QuantizeLinear would give
  Stored scales;
  Stored zeros;   ///< null: `default_zero` everywhere
  Stored groups;  ///< null, or for each column the block that its scale and zero point are of
  Shape shape;    ///< of the floats
  DType dtype = DType::kFloat32;
  /// Type of one code; the tensor of codes may be of bytes that hold several.
  DType code_type = DType::kUint8;
  /// Codes that are stored for a row (of the last dimension), padding included.
  int64_t row_codes = 0;
  int64_t axis = 0;
  /// Elements along the axis that share a scale. 0: one scale for each index of the axis, whatever
  /// the other indices, or one for all when there is one alone.
  int64_t block = 0;
  /// Packed zero points: so many stand in a row, and each row begins a byte. 0: they are not
  /// packed.
  int64_t zero_row = 0;
  float default_zero = 0;
  /// 16 values (FloatCodebook): codes are pairs, the first in the upper half of a byte, and `block`
  /// counts through the whole matrix.
  const float* codebook = nullptr;

  /// All elements, [shape] of `dtype`; stored pages are let go. Throws InputError when codes,
  /// scales or zero points are not as many as the shape asks for.
  [[nodiscard]] Tensor Read(const WeightReader& weights) const;
  /// Scales and zero points; nothing where these are no grid: of a codebook, of columns that are
  /// permuted, with zero points between codes.
  [[nodiscard]] std::optional<StoredGrid> Grid(const WeightReader& weights) const;
  /// The tensors that it is computed from.
  [[nodiscard]] std::vector<const onnx::TensorProto*> Parts() const;
};

}  // namespace ptq
