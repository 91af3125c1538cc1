// Checks the parts of a quantized weight against each other, and computes its floats from them.
#include "quantized_weight.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/model/model.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

constexpr int64_t kElementTile = 1 << 16;

void Expect(const onnx::TensorProto& proto, int64_t actual, int64_t needed) {
  if (actual == needed) return;
  throw InputError("quantized weight: '" + proto.name() + "' has " + std::to_string(actual) +
                   " elements where " + std::to_string(needed) + " are needed");
}

ScaleLayout LayoutOf(const QuantizedWeight& weight, int64_t scales) {
  ScaleLayout layout;
  const auto rank = static_cast<int64_t>(weight.shape.size());
  const int64_t axis = NormalizeAxis(weight.axis, rank);
  layout.length = weight.shape[static_cast<size_t>(axis)];
  layout.inner = NumElements(weight.shape, axis + 1, rank);
  if (weight.block == 0) {
    if (scales == 1) return layout;
    layout.block_stride = 1;
    layout.count = layout.length;
    return layout;
  }
  layout.block = weight.block;
  const int64_t blocks = (layout.length + weight.block - 1) / weight.block;
  layout.inner_stride = 1;
  layout.block_stride = layout.inner;
  layout.outer_stride = blocks * layout.inner;
  layout.count = NumElements(weight.shape, 0, axis) * layout.outer_stride;
  return layout;
}

/// One zero point for each scale.
std::vector<float> ReadZeros(const QuantizedWeight& weight, const WeightReader& weights,
                             int64_t count) {
  if (weight.zeros == nullptr) return {};
  const Tensor stored = weights.Read(*weight.zeros);
  if (IsFloat(stored.dtype())) {
    Expect(*weight.zeros, stored.size(), count);
    const Tensor wide = stored.ToFloat32();
    return {wide.data<float>().begin(), wide.data<float>().end()};
  }
  const int bits = BitsOf(weight.code_type);
  if (weight.zero_row == 0 || stored.dtype() != DType::kUint8) {
    if (stored.size() != 1) Expect(*weight.zeros, stored.size(), count);
    const auto codes = UnpackIntegers(stored, 0, stored.size());
    std::vector<float> zeros(codes.begin(), codes.end());
    zeros.resize(static_cast<size_t>(count), zeros.front());
    return zeros;
  }
  const int64_t row_bytes = (weight.zero_row * bits + 7) / 8;
  const int64_t rows = count / std::max<int64_t>(1, weight.zero_row);
  Expect(*weight.zeros, stored.size(), rows * row_bytes);
  std::vector<float> zeros;
  std::vector<uint8_t> codes(static_cast<size_t>(weight.zero_row));
  for (int64_t row = 0; row < rows; ++row) {
    UnpackBits(stored.data<uint8_t>().data() + row * row_bytes, bits, 0, weight.zero_row,
               codes.data());
    zeros.insert(zeros.end(), codes.begin(), codes.end());
  }
  return zeros;
}

/// What QuantizeLinear makes of floats, as floats.
struct Quantizer {
  float lowest;
  float highest;
  [[nodiscard]] float Code(float x, float scale, float zero) const {
    const float code = std::nearbyint(x / scale) + zero;
    return code > lowest ? std::min(code, highest) : lowest;
  }
};

/// The codes as a tensor of single codes; or the floats that they are to be made of.
Tensor ReadCodes(const QuantizedWeight& weight, const WeightReader& weights, int64_t rows) {
  Tensor stored = weights.Read(*weight.codes);
  if (IsFloat(stored.dtype())) {
    Expect(*weight.codes, stored.size(), rows * weight.row_codes);
    return stored.ToFloat32();
  }
  const int64_t needed = rows * weight.row_codes;
  if (stored.dtype() == weight.code_type) {
    Expect(*weight.codes, stored.size(), needed);
    return stored;
  }
  Expect(*weight.codes, stored.size(), BytesOf(weight.code_type, needed));
  const auto owner = std::make_shared<Tensor>(stored);
  return Tensor::View(weight.code_type, {needed}, owner->bytes(), owner);
}

std::vector<int64_t> ReadGroups(const QuantizedWeight& weight, const WeightReader& weights,
                                int64_t blocks) {
  if (weight.groups == nullptr) return {};
  std::vector<int64_t> groups = weights.Read(*weight.groups).ToInt64s();
  const bool valid =
      std::ranges::all_of(groups, [&](int64_t group) { return group >= 0 && group < blocks; });
  if (!valid || static_cast<int64_t>(groups.size()) < weight.shape.back()) {
    throw InputError("quantized weight: '" + weight.groups->name() +
                     "' does not name a block for "
                     "each of " +
                     std::to_string(weight.shape.back()) + " columns");
  }
  return groups;
}

void FillFromCodebook(const QuantizedWeight& weight, const Tensor& codes,
                      std::span<const float> scales, std::span<float> out) {
  const auto packed = codes.data<uint8_t>();
  ParallelForTiles(static_cast<int64_t>(out.size()), kElementTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int code = (packed[static_cast<size_t>(i / 2)] >> (i % 2 == 0 ? 4 : 0)) & 15;
      out[static_cast<size_t>(i)] =
          weight.codebook[code] * scales[static_cast<size_t>(i / weight.block)];
    }
  });
}

}  // namespace

Tensor QuantizedWeight::Read(const WeightReader& weights) const {
  const int64_t cols = shape.back();
  const int64_t rows = NumElements(shape) / std::max<int64_t>(1, cols);
  const Tensor wide_scales = weights.Read(*scales).ToFloat32();
  const std::span<const float> scale = wide_scales.data<float>();
  Tensor floats(DType::kFloat32, shape);
  const std::span<float> out = floats.mutable_data<float>();
  if (codebook != nullptr) {
    const int64_t count = rows * cols;
    const Tensor packed = weights.Read(*codes);
    Expect(*codes, packed.size(), (count + 1) / 2);
    Expect(*scales, wide_scales.size(), (count + block - 1) / block);
    FillFromCodebook(*this, packed, scale, out);
  } else {
    const ScaleLayout layout = LayoutOf(*this, wide_scales.size());
    Expect(*scales, wide_scales.size(), layout.count);
    const std::vector<float> zero = ReadZeros(*this, weights, layout.count);
    const std::vector<int64_t> group = ReadGroups(*this, weights, layout.outer_stride);
    const Tensor all_codes = ReadCodes(*this, weights, rows);
    const bool rounds = all_codes.dtype() == DType::kFloat32;
    const auto range = RangeOf(code_type);
    const Quantizer quantizer = {float(range.lowest), float(range.highest)};
    const bool last = layout.inner == 1;
    const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, cols));
    ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        std::vector<int32_t> code;
        if (!rounds) code = UnpackIntegers(all_codes, row * row_codes, cols);
        const int64_t flat = row * cols;  // of the row's first element
        const auto first = int64_t(layout.At(flat));
        for (int64_t col = 0; col < cols; ++col) {
          int64_t at =
              first + (last ? col / layout.block * layout.block_stride : col * layout.inner_stride);
          if (!group.empty()) at = first + group[static_cast<size_t>(col)];
          const auto index = static_cast<size_t>(at);
          const float center = zero.empty() ? default_zero : zero[index];
          const auto to = static_cast<size_t>(flat + col);
          const float own = rounds
                                ? quantizer.Code(all_codes.data<float>()[to], scale[index], center)
                                : static_cast<float>(code[static_cast<size_t>(col)]);
          out[to] = (own - center) * scale[index];
        }
      }
    });
  }
  weights.Drop(*codes);
  return dtype == DType::kFloat32 ? floats : floats.Cast(dtype);
}

std::optional<StoredGrid> QuantizedWeight::Grid(const WeightReader& weights) const {
  if (codebook != nullptr || groups != nullptr) return std::nullopt;
  StoredGrid grid;
  const Tensor wide = weights.Read(*scales).ToFloat32();
  grid.scales.assign(wide.data<float>().begin(), wide.data<float>().end());
  grid.layout = LayoutOf(*this, wide.size());
  Expect(*scales, wide.size(), grid.layout.count);
  grid.bits = BitsOf(code_type);
  std::vector<float> zero = ReadZeros(*this, weights, grid.layout.count);
  zero.resize(grid.scales.size(), default_zero);
  for (const float value : zero) {
    if (value != std::nearbyint(value)) return std::nullopt;
    grid.zeros.push_back(int(value) - int(RangeOf(code_type).lowest));
  }
  return grid;
}

std::vector<const onnx::TensorProto*> QuantizedWeight::Parts() const {
  std::vector<const onnx::TensorProto*> parts;
  for (const Stored& part : {codes, scales, zeros, groups}) {
    if (part != nullptr) parts.push_back(part.get());
  }
  return parts;
}

}  // namespace ptq
