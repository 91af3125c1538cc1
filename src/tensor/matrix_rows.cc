// Copies, widens or transposes the part of a stored matrix that the rows lie in.
#include "ptq/tensor/matrix_rows.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/tensor/transpose.h"

namespace ptq {
namespace {

/// A block that is transposed in its 16-bit form before it is widened: half the traffic, and it
/// stays in the nearest cache.
constexpr int64_t kBlockRows = 32;
constexpr int64_t kBlockCols = 256;

template <class T>
void WidenTransposed(const T* from, int64_t stride, int64_t rows, int64_t cols, float* to) {
  static_assert(sizeof(T) == sizeof(uint16_t));
  std::array<T, size_t(kBlockRows * kBlockCols)> block;
  for (int64_t row = 0; row < rows; row += kBlockRows) {
    const int64_t height = std::min(kBlockRows, rows - row);
    for (int64_t col = 0; col < cols; col += kBlockCols) {
      const int64_t width = std::min(kBlockCols, cols - col);
      TransposePart(&from[col * stride + row].bits, stride, width, height, &block[0].bits,
                    kBlockCols);
      for (int64_t r = 0; r < height; ++r) {
        Convert(std::span<const T>(block).subspan(size_t(r * kBlockCols), size_t(width)),
                std::span<float>(to + (row + r) * cols + col, size_t(width)));
      }
    }
  }
}

}  // namespace

MatrixRows::MatrixRows(Tensor stored, bool transposed) : stored_(std::move(stored)) {
  if (stored_.rank() != 2) {
    throw InputError("expected a matrix, found the shape " + ToString(stored_.shape()));
  }
  const Part whole{stored_.dim(transposed ? 1 : 0), stored_.dim(transposed ? 0 : 1), 0,
                   stored_.dim(1), transposed};
  *this = MatrixRows(std::move(stored_), whole);
}

MatrixRows::MatrixRows(Tensor stored, const Part& part) : stored_(std::move(stored)), part_(part) {
  const DType dtype = stored_.dtype();
  if (dtype != DType::kFloat32 && dtype != DType::kFloat16 && dtype != DType::kBFloat16) {
    throw InputError("expected a matrix of float32, float16 or bfloat16, found " +
                     std::string(DTypeName(dtype)));
  }
  const int64_t outer = part_.transposed ? part_.cols : part_.rows;
  const int64_t inner = part_.transposed ? part_.rows / part_.stack : part_.cols;
  const bool empty = outer == 0 || inner == 0;
  const int64_t before = part_.transposed ? (part_.stack - 1) * outer * inner : 0;
  if (part_.offset < 0 || part_.stride < 0 || part_.rows % part_.stack != 0 ||
      (!empty && part_.offset + before + (outer - 1) * part_.stride + inner > stored_.size())) {
    throw InputError("a part of a matrix lies outside the tensor of shape " +
                     ToString(stored_.shape()));
  }
}

MatrixRows::MatrixRows(std::span<const float> values, int64_t cols)
    : MatrixRows(Tensor::View(DType::kFloat32,
                              {cols > 0 ? static_cast<int64_t>(values.size()) / cols : 0, cols},
                              std::as_bytes(values), nullptr),
                 false) {}

const float* MatrixRows::Get(int64_t begin, int64_t end, std::vector<float>& buffer) const {
  const auto& [rows, cols, offset, stride, transposed, stack] = part_;
  if (stored_.dtype() == DType::kFloat32 && stride == cols && !transposed) {
    return stored_.data<float>().data() + offset + begin * cols;
  }
  const auto count = static_cast<size_t>((end - begin) * cols);
  if (buffer.size() < count) buffer.resize(count);
  const int64_t each = transposed ? rows / stack : rows;
  for (int64_t row = begin; row < end;) {
    const int64_t last = std::min(end, (row / each + 1) * each);
    Fill(row, last, buffer.data() + (row - begin) * cols);
    row = last;
  }
  return buffer.data();
}

void MatrixRows::Fill(int64_t begin, int64_t end, float* to) const {
  const int64_t cols = part_.cols;
  const int64_t stride = part_.stride;
  const int64_t each = part_.rows / part_.stack;
  const int64_t first = part_.transposed ? part_.offset + begin / each * each * cols + begin % each
                                         : part_.offset + begin * stride;
  const auto widen = [&](auto stored) {
    if (part_.transposed) {
      WidenTransposed(stored.data() + first, stride, end - begin, cols, to);
    } else if (stride == cols) {
      const auto count = size_t((end - begin) * cols);
      Convert(stored.subspan(size_t(first), count), std::span(to, count));
    } else {
      for (int64_t row = 0; row < end - begin; ++row) {
        Convert(stored.subspan(size_t(first + row * stride), size_t(cols)),
                std::span(to + row * cols, size_t(cols)));
      }
    }
  };
  switch (stored_.dtype()) {
    case DType::kFloat16: widen(stored_.data<Half>()); break;
    case DType::kBFloat16: widen(stored_.data<BFloat16>()); break;
    default: {
      const float* from = stored_.data<float>().data() + first;
      if (part_.transposed) {
        TransposePart(from, stride, cols, end - begin, to, cols);
        break;
      }
      for (int64_t row = 0; row < end - begin; ++row) {
        std::copy_n(from + row * stride, cols, to + row * cols);
      }
    }
  }
}

}  // namespace ptq
