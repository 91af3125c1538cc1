// Transposes block by block, a cache line wide, by interleaving vectors.
#include "ptq/tensor/transpose.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

namespace ptq {
namespace {

constexpr int64_t kLine = 64;  ///< bytes of a cache line

template <class T>
struct Vector {
  static constexpr size_t kLanes = 16 / sizeof(T);
  using Type [[gnu::vector_size(16)]] = T;
};

/// The lower (`half` 0) or upper halves of two vectors, interleaved.
template <class V, size_t... lane>
V Interleave(V a, V b, std::integral_constant<size_t, 0>, std::index_sequence<lane...>) {
  return __builtin_shufflevector(a, b, (lane / 2 + lane % 2 * sizeof...(lane))...);
}
template <class V, size_t... lane>
V Interleave(V a, V b, std::integral_constant<size_t, 1>, std::index_sequence<lane...>) {
  return __builtin_shufflevector(a, b,
                                 (sizeof...(lane) / 2 + lane / 2 + lane % 2 * sizeof...(lane))...);
}

/// A square of one vector a row. Every round rotates the bits of an element's (row, lane) by one
/// place; when all lanes' bits have gone round, rows and lanes have changed places.
template <class T>
void TransposeSquare(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  using V = typename Vector<T>::Type;
  constexpr size_t kLanes = Vector<T>::kLanes;
  constexpr auto kAll = std::make_index_sequence<kLanes>();
  std::array<V, kLanes> rows, next;
  for (size_t r = 0; r < kLanes; ++r) {
    std::memcpy(&rows[r], from + int64_t(r) * from_stride, sizeof(V));
  }
  for (size_t round = kLanes; round > 1; round /= 2) {
    for (size_t r = 0; r < kLanes / 2; ++r) {
      next[2 * r] =
          Interleave(rows[r], rows[r + kLanes / 2], std::integral_constant<size_t, 0>(), kAll);
      next[2 * r + 1] =
          Interleave(rows[r], rows[r + kLanes / 2], std::integral_constant<size_t, 1>(), kAll);
    }
    rows = next;
  }
  for (size_t r = 0; r < kLanes; ++r) {
    std::memcpy(to + int64_t(r) * to_stride, &rows[r], sizeof(V));
  }
}

/// At most a cache line of rows and of columns.
template <class T>
void TransposeBlock(const T* from, int64_t from_stride, int64_t rows, int64_t cols, T* to,
                    int64_t to_stride) {
  constexpr int64_t kSide = kLine / int64_t(sizeof(T));
  constexpr auto kLanes = int64_t(Vector<T>::kLanes);
  constexpr int64_t kPadded = kSide + kLanes;
  // Lines a power of two apart share few places in the cache; in here they do not.
  std::array<T, size_t(kSide * kPadded)> near;
  if (rows < kSide || cols < kSide) {
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < rows; ++r) to[c * to_stride + r] = from[r * from_stride + c];
    }
    return;
  }
  for (int64_t r = 0; r < kSide; ++r) {
    std::memcpy(near.data() + r * kPadded, from + r * from_stride, size_t{kLine});
  }
  for (int64_t c = 0; c < kSide; c += kLanes) {
    for (int64_t r = 0; r < kSide; r += kLanes) {  // whole lines of the result, one by one
      TransposeSquare(near.data() + r * kPadded + c, kPadded, to + c * to_stride + r, to_stride);
    }
  }
}

template <class T>
void TransposeBlocks(const T* from, int64_t from_stride, int64_t rows, int64_t cols, T* to,
                     int64_t to_stride) {
  constexpr int64_t kSide = kLine / int64_t(sizeof(T));
  for (int64_t row = 0; row < rows; row += kSide) {
    for (int64_t r = row + kSide; r < std::min(rows, row + 2 * kSide); ++r) {
      for (int64_t col = 0; col < cols; col += kSide) {
        __builtin_prefetch(from + r * from_stride + col);
      }
    }
    for (int64_t col = 0; col < cols; col += kSide) {
      TransposeBlock(from + row * from_stride + col, from_stride, std::min(kSide, rows - row),
                     std::min(kSide, cols - col), to + col * to_stride + row, to_stride);
    }
  }
}

}  // namespace

void TransposePart(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
                   int64_t to_stride) {
  TransposeBlocks(from, from_stride, rows, cols, to, to_stride);
}

void TransposePart(const uint16_t* from, int64_t from_stride, int64_t rows, int64_t cols,
                   uint16_t* to, int64_t to_stride) {
  TransposeBlocks(from, from_stride, rows, cols, to, to_stride);
}

void TransposePart(const uint8_t* from, int64_t from_stride, int64_t rows, int64_t cols,
                   uint8_t* to, int64_t to_stride) {
  TransposeBlocks(from, from_stride, rows, cols, to, to_stride);
}

}  // namespace ptq
