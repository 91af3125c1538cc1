// com.microsoft GatherBlockQuantized: rows of a table that is quantized in blocks, as floats.
#include <vector>

#include "array.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

struct BlockGatherAttributes {
  int64_t gather_axis;
  int64_t quantize_axis;
  int64_t block;
  int bits;  ///< of uint8 data
};

/// The quantized table with its logical shape; elements are read by their flat logical index.
class Table {
 public:
  Table(const KernelContext& context, const BlockGatherAttributes& attributes)
      : data_(context.input(0)), shape_(data_.shape()), block_(attributes.block) {
    const Tensor& scales = context.input(2);
    bytes_ = data_.dtype() == DType::kUint8;
    bits_ = bytes_ ? attributes.bits : BitsOf(data_.dtype());
    if (bytes_ && !shape_.empty()) shape_.back() = shape_.back() * 8 / bits_;
    const auto rank = static_cast<int64_t>(shape_.size());
    const int64_t axis = NormalizeAxis(attributes.quantize_axis, rank);
    length_ = shape_[static_cast<size_t>(axis)];
    inner_ = NumElements(shape_, axis + 1, rank);
    Shape expected = shape_;
    blocks_ = (length_ + block_ - 1) / block_;
    expected[static_cast<size_t>(axis)] = blocks_;
    if (scales.shape() != expected) {
      throw InputError("GatherBlockQuantized: scales have shape " + ToString(scales.shape()) +
                       ", expected " + ToString(expected));
    }
    scales_ = scales.data<float>().data();
    scale_row_ = expected.back();
    if (!context.has_input(3)) return;
    zeros_ = context.input(3);
    const int64_t packed_row = (scale_row_ * bits_ + 7) / 8;
    const int64_t needed =
        bytes_ ? scales.size() / std::max<int64_t>(1, scale_row_) * packed_row : scales.size();
    if (zeros_.size() != needed || zeros_.dtype() != data_.dtype()) {
      throw InputError("GatherBlockQuantized: zero points of shape " + ToString(zeros_.shape()) +
                       " do not fit scales of " + ToString(scales.shape()));
    }
  }

  [[nodiscard]] const Shape& shape() const { return shape_; }

  /// Elements [begin, begin + count) as floats.
  void Read(int64_t begin, int64_t count, float* out) const {
    const std::vector<int32_t> codes = Codes(begin, count);
    for (int64_t i = 0; i < count;) {
      const int64_t flat = begin + i;
      const int64_t along = flat / inner_ % length_;
      const int64_t scale =
          (flat / (inner_ * length_) * blocks_ + along / block_) * inner_ + flat % inner_;
      // With nothing inside the axis, the rest of the block has the same scale.
      const int64_t same =
          inner_ == 1 ? std::min({block_ - along % block_, length_ - along, count - i}) : 1;
      const float factor = scales_[scale];
      const int32_t zero = ZeroPoint(scale);
      for (int64_t end = i + same; i < end; ++i) {
        out[i] = static_cast<float>(codes[static_cast<size_t>(i)] - zero) * factor;
      }
    }
  }

 private:
  [[nodiscard]] std::vector<int32_t> Codes(int64_t begin, int64_t count) const {
    if (!bytes_) return UnpackIntegers(data_, begin, count);
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    UnpackBits(data_.data<uint8_t>().data(), bits_, begin, count, codes.data());
    return {codes.begin(), codes.end()};
  }

  [[nodiscard]] int32_t ZeroPoint(int64_t scale) const {
    if (!zeros_.defined()) return bytes_ ? 1 << (bits_ - 1) : 0;
    if (!bytes_) return UnpackIntegers(zeros_, scale, 1)[0];
    const int64_t packed_row = (scale_row_ * bits_ + 7) / 8;
    uint8_t code = 0;
    UnpackBits(zeros_.data<uint8_t>().data() + scale / scale_row_ * packed_row, bits_,
               scale % scale_row_, 1, &code);
    return code;
  }

  const Tensor data_;
  Shape shape_;
  int64_t block_;
  bool bytes_;  ///< uint8 data, packed along the last dimension
  int bits_;
  int64_t length_;     ///< of the quantized axis
  int64_t inner_;      ///< elements inside it
  int64_t blocks_;     ///< along it
  int64_t scale_row_;  ///< last dimension of the scales
  const float* scales_;
  Tensor zeros_;
};

void RunBlockGather(KernelContext& context, const BlockGatherAttributes& attributes) {
  const Table table(context, attributes);
  const Shape& shape = table.shape();
  const auto rank = static_cast<int64_t>(shape.size());
  const int64_t axis = NormalizeAxis(attributes.gather_axis, rank);
  const int64_t rows = shape[static_cast<size_t>(axis)];
  const int64_t outer = NumElements(shape, 0, axis);
  const int64_t inner = NumElements(shape, axis + 1, rank);
  const Tensor& indices = context.input(1);
  const std::vector<int64_t> picks = indices.ToInt64s();
  Shape out_shape(shape.begin(), shape.begin() + axis);
  out_shape.insert(out_shape.end(), indices.shape().begin(), indices.shape().end());
  out_shape.insert(out_shape.end(), shape.begin() + axis + 1, shape.end());
  Tensor out(DType::kFloat32, out_shape);
  float* to = out.mutable_data<float>().data();
  const auto count = static_cast<int64_t>(picks.size());
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, inner));
  ParallelForTiles(inner == 0 ? 0 : outer * count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t row = picks[static_cast<size_t>(i % count)];
      if (row < 0) row += rows;
      if (row < 0 || row >= rows) {
        // Unlike Gather, the operator answers an index outside the table with zeros.
        std::fill(to + i * inner, to + (i + 1) * inner, 0.0f);
      } else {
        table.Read((i / count * rows + row) * inner, inner, to + i * inner);
      }
    }
  });
  context.set_output(0, std::move(out));
}

}  // namespace

/// com.microsoft GatherBlockQuantized: data, indices, scales, zero points? -> floats. Data are
/// uint8 (2, 4 or 8 bits, packed along the last dimension, zero point 2^(bits-1)) or (u)int4 (zero
/// point 0).
std::unique_ptr<Kernel> MakeGatherBlockQuantized(const Node& node) {
  const BlockGatherAttributes attributes{node.Int("gather_axis", 0), node.Int("quantize_axis", 1),
                                         node.Int("block_size", 128),
                                         static_cast<int>(node.Int("bits", 4))};
  if (attributes.block <= 0 ||
      (attributes.bits != 2 && attributes.bits != 4 && attributes.bits != 8)) {
    throw UnsupportedError("node '" + node.name() + "': GatherBlockQuantized with block_size " +
                           std::to_string(attributes.block) + " and " +
                           std::to_string(attributes.bits) + " bits is not supported");
  }
  return MakeKernel([attributes](KernelContext& context) { RunBlockGather(context, attributes); });
}

}  // namespace ptq
