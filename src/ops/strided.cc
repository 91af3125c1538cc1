// Copies strided views in runs or square blocks, after merging the axes that one stride spans.
#include "strided.h"

#include <algorithm>
#include <cstring>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Elements of one parallel tile; smaller results are copied by the calling thread.
constexpr int64_t kStridedTile = 32 * 1024;
/// Side of the square that a two-dimensional transposition moves at once: both sides stay in cache.
constexpr int64_t kBlock = 32;

struct Axis {
  int64_t size;
  int64_t source;  ///< stride in the source
  int64_t result;  ///< stride in the result
};

/// The axes of `view` without those of one element, neighbours merged where one stride spans both.
std::vector<Axis> Simplify(const StridedView& view) {
  const auto result_strides = RowMajorStrides(view.shape);
  std::vector<Axis> axes;
  for (size_t i = 0; i < view.shape.size(); ++i) {
    const Axis axis{view.shape[i], view.strides[i], result_strides[i]};
    if (axis.size == 1) continue;
    if (!axes.empty() && axes.back().source == axis.source * axis.size) {
      axes.back() = {axes.back().size * axis.size, axis.source, axis.result};
    } else {
      axes.push_back(axis);
    }
  }
  return axes;
}

/// Walks the index combinations of some axes and keeps both positions.
class Odometer {
 public:
  Odometer(const std::vector<Axis>& axes, int64_t index) : axes_(axes), at_(axes.size(), 0) {
    for (size_t i = axes.size(); i-- > 0;) {
      at_[i] = index % axes[i].size;
      index /= axes[i].size;
      source += at_[i] * axes[i].source;
      result += at_[i] * axes[i].result;
    }
  }

  void Next() {
    for (size_t i = axes_.size(); i-- > 0;) {
      source += axes_[i].source;
      result += axes_[i].result;
      if (++at_[i] < axes_[i].size) return;
      source -= axes_[i].size * axes_[i].source;
      result -= axes_[i].size * axes_[i].result;
      at_[i] = 0;
    }
  }

  int64_t source = 0;
  int64_t result = 0;

 private:
  const std::vector<Axis>& axes_;
  Shape at_;
};

int64_t CountOf(const std::vector<Axis>& axes) {
  int64_t count = 1;
  for (const Axis& axis : axes) count *= axis.size;
  return count;
}

template <class T>
void CopyRun(T* to, const T* from, const Axis& run) {
  if (run.source == 1) {
    std::memcpy(to, from, static_cast<size_t>(run.size) * sizeof(T));
  } else if (run.source == 0) {
    std::fill_n(to, run.size, *from);
  } else {
    for (int64_t i = 0; i < run.size; ++i) to[i] = from[i * run.source];
  }
}

/// Every combination of `outer`, and for each a run along the last axis.
template <class T>
void CopyRuns(T* to, const T* from, const std::vector<Axis>& outer, const Axis& run) {
  const int64_t rows = CountOf(outer);
  if (rows == 1 && run.size > kStridedTile) {
    ParallelForTiles(run.size, kStridedTile, [&](int64_t begin, int64_t end) {
      CopyRun(to + begin, from + begin * run.source, {end - begin, run.source, 1});
    });
    return;
  }
  const int64_t grain = std::max<int64_t>(1, kStridedTile / run.size);
  ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
    Odometer at(outer, begin);
    for (int64_t row = begin; row < end; ++row, at.Next()) {
      CopyRun(to + at.result, from + at.source, run);
    }
  });
}

/// Transposes a plane: `tall` is contiguous in the source, `run` in the result.
template <class T>
void TransposePlane(T* to, const T* from, const Axis& tall, const Axis& run, int64_t begin,
                    int64_t end) {
  for (int64_t column = 0; column < run.size; column += kBlock) {
    const int64_t last = std::min(run.size, column + kBlock);
    for (int64_t j = begin; j < end; ++j) {
      T* out = to + j * tall.result;
      const T* in = from + j;
      for (int64_t i = column; i < last; ++i) out[i] = in[i * run.source];
    }
  }
}

template <class T>
void TransposePlanes(T* to, const T* from, const std::vector<Axis>& outer, const Axis& tall,
                     const Axis& run) {
  const int64_t blocks = (tall.size + kBlock - 1) / kBlock;
  const int64_t per_block = std::min(tall.size, kBlock) * run.size;
  const int64_t grain = std::max<int64_t>(1, kStridedTile / per_block);
  ParallelForTiles(CountOf(outer) * blocks, grain, [&](int64_t begin, int64_t end) {
    Odometer at(outer, begin / blocks);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit % blocks * kBlock;
      TransposePlane(to + at.result, from + at.source, tall, run, first,
                     std::min(tall.size, first + kBlock));
      if (unit % blocks == blocks - 1) at.Next();
    }
  });
}

template <class T>
void CopyAxes(T* to, const T* from, std::vector<Axis> axes) {
  if (axes.empty()) {
    *to = *from;
    return;
  }
  const Axis run = axes.back();
  axes.pop_back();
  if (run.source != 0 && run.source != 1) {
    const auto tall =
        std::find_if(axes.begin(), axes.end(), [](const Axis& axis) { return axis.source == 1; });
    if (tall != axes.end()) {
      const Axis plane = *tall;
      axes.erase(tall);
      TransposePlanes(to, from, axes, plane, run);
      return;
    }
  }
  CopyRuns(to, from, axes, run);
}

template <class T>
void CopyFixedRows(std::byte* to, int64_t to_stride, const std::byte* from, int64_t from_stride,
                   int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(to + row * to_stride, from + row * from_stride, sizeof(T));
  }
}

}  // namespace

size_t ElementBytes(DType dtype) {
  const int bits = BitsOf(dtype);
  if (bits < 8) {
    throw UnsupportedError("moving elements of type " + std::string(DTypeName(dtype)));
  }
  return static_cast<size_t>(bits / 8);
}

Tensor Materialize(const Tensor& source, const StridedView& view) {
  Tensor result(source.dtype(), view.shape);
  if (result.size() == 0) return result;
  VisitWidth(ElementBytes(source.dtype()), [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    CopyAxes(reinterpret_cast<T*>(result.mutable_bytes().data()),
             reinterpret_cast<const T*>(source.bytes().data()) + view.offset, Simplify(view));
  });
  return result;
}

Tensor TransposeAxes(const Tensor& source, const Shape& perm) {
  const auto strides = RowMajorStrides(source.shape());
  StridedView view;
  for (const int64_t axis : perm) {
    view.shape.push_back(source.shape()[static_cast<size_t>(axis)]);
    view.strides.push_back(strides[static_cast<size_t>(axis)]);
  }
  return Materialize(source, view);
}

void CopyRows(std::byte* to, int64_t to_stride, const std::byte* from, int64_t from_stride,
              int64_t row_bytes, int64_t rows) {
  if (row_bytes == 0) return;
  const int64_t grain = std::max<int64_t>(1, 4 * kStridedTile / row_bytes);
  ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
    std::byte* out = to + begin * to_stride;
    const std::byte* in = from + begin * from_stride;
    if (row_bytes == 4)
      return CopyFixedRows<uint32_t>(out, to_stride, in, from_stride, end - begin);
    if (row_bytes == 8)
      return CopyFixedRows<uint64_t>(out, to_stride, in, from_stride, end - begin);
    for (int64_t row = begin; row < end; ++row, out += to_stride, in += from_stride) {
      std::memcpy(out, in, static_cast<size_t>(row_bytes));
    }
  });
}

}  // namespace ptq
