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

MatrixRows::MatrixRows(Tensor stored, bool transposed)
    : stored_(std::move(stored)), transposed_(transposed) {
  if (stored_.rank() != 2) {
    throw InputError("expected a matrix, found the shape " + ToString(stored_.shape()));
  }
  const DType dtype = stored_.dtype();
  if (dtype != DType::kFloat32 && dtype != DType::kFloat16 && dtype != DType::kBFloat16) {
    throw InputError("expected a matrix of float32, float16 or bfloat16, found " +
                     std::string(DTypeName(dtype)));
  }
  rows_ = stored_.dim(transposed ? 1 : 0);
  cols_ = stored_.dim(transposed ? 0 : 1);
}

MatrixRows::MatrixRows(std::span<const float> values, int64_t cols)
    : MatrixRows(Tensor::View(DType::kFloat32,
                              {cols > 0 ? static_cast<int64_t>(values.size()) / cols : 0, cols},
                              std::as_bytes(values), nullptr),
                 false) {}

const float* MatrixRows::Get(int64_t begin, int64_t end, std::vector<float>& buffer) const {
  if (stored_.dtype() == DType::kFloat32 && !transposed_) {
    return stored_.data<float>().data() + begin * cols_;
  }
  const auto count = static_cast<size_t>((end - begin) * cols_);
  if (buffer.size() < count) buffer.resize(count);
  const auto fill = [&](auto stored) {
    if (transposed_) {
      WidenTransposed(stored.data() + begin, rows_, end - begin, cols_, buffer.data());
    } else {
      Convert(stored.subspan(static_cast<size_t>(begin * cols_), count),
              std::span(buffer.data(), count));
    }
  };
  switch (stored_.dtype()) {
    case DType::kFloat16: fill(stored_.data<Half>()); break;
    case DType::kBFloat16: fill(stored_.data<BFloat16>()); break;
    default:
      TransposePart(stored_.data<float>().data() + begin, rows_, cols_, end - begin, buffer.data(),
                    cols_);
  }
  return buffer.data();
}

}  // namespace ptq
