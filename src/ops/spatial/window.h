// Geometry of sliding windows, shared by convolution and pooling over any number of spatial axes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ptq/model/node.h"
#include "ptq/tensor/shape.h"

namespace ptq {

/// Attributes that Conv, ConvTranspose and the pools have in common; empty lists mean the default.
struct WindowAttributes {
  explicit WindowAttributes(const Node& node);
  Shape kernel_shape;
  std::vector<int64_t> strides;
  Shape dilations;
  Shape pads;
  std::string auto_pad;
  bool ceil_mode;
};

/// One spatial axis: place o of `output` sees the inputs o·stride − pad_begin + k·dilation.
struct WindowAxis {
  int64_t input;
  int64_t output;
  int64_t kernel;
  int64_t stride;
  int64_t dilation;
  int64_t pad_begin;
  int64_t pad_end;
  /// Elements that a window spans.
  [[nodiscard]] int64_t Span() const { return (kernel - 1) * dilation + 1; }
};

using Window = std::vector<WindowAxis>;

/// The window over the spatial dimensions `input` with the given kernel, outputs computed as the
/// specification of Conv and the pools says. Throws InputError when attributes do not fit.
[[nodiscard]] Window ResolveWindow(const WindowAttributes& attributes, const Shape& input,
                                   const Shape& kernel);

/// The dimensions after batch and channels. Throws InputError when there are none.
[[nodiscard]] Shape SpatialShape(const Shape& shape);
[[nodiscard]] Shape OutputShape(const Window& window);
[[nodiscard]] Shape InputShape(const Window& window);
[[nodiscard]] Shape KernelShape(const Window& window);

/// Columns that lie beside each other in one row of the image, for one place of the kernel.
struct ColumnRun {
  int64_t tap;     ///< place of the kernel, row-major
  int64_t column;  ///< first column
  int64_t count;
  int64_t image;  ///< element of the image that the first column sees, -1 in the padding
  int64_t step;   ///< from one column to the next
};

/// Calls visit(run) for the whole of the columns [begin, end), which number the window's outputs
/// row-major, and every tap.
template <class Visitor>
void ForEachColumnRun(const Window& window, int64_t begin, int64_t end, Visitor&& visit) {
  const size_t last = window.size() - 1;
  const Shape kernel = KernelShape(window);
  const WindowAxis& row = window[last];
  const int64_t taps = NumElements(kernel);
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t shift = tap % row.kernel * row.dilation - row.pad_begin;
    for (int64_t column = begin; column < end;) {
      const int64_t first = column % row.output;
      const int64_t count = std::min(row.output - first, end - column);
      // The other axes: which row of the image this is, if any.
      int64_t tap_rest = tap / row.kernel;
      int64_t place_rest = column / row.output;
      int64_t stride = row.input;
      int64_t line = 0;
      bool inside = true;
      for (size_t i = last; i-- > 0;) {
        const WindowAxis& axis = window[i];
        const int64_t at = place_rest % axis.output * axis.stride - axis.pad_begin +
                           tap_rest % axis.kernel * axis.dilation;
        place_rest /= axis.output;
        tap_rest /= axis.kernel;
        inside = inside && at >= 0 && at < axis.input;
        line += at * stride;
        stride *= axis.input;
      }
      // Columns of this row whose element lies in the image: 0 ≤ place·stride + shift < input.
      const auto ceil_div = [&](int64_t a) {
        return a <= 0 ? 0 : (a + row.stride - 1) / row.stride;
      };
      const int64_t low = std::clamp(ceil_div(-shift), first, first + count);
      const int64_t high = std::clamp(ceil_div(row.input - shift), low, first + count);
      const int64_t from = inside ? low : first + count;
      const int64_t to = inside ? high : first + count;
      if (from > first) visit(ColumnRun{tap, column, from - first, -1, 0});
      if (to > from) {
        visit(ColumnRun{tap, column + from - first, to - from, line + from * row.stride + shift,
                        row.stride});
      }
      if (first + count > to) {
        visit(ColumnRun{tap, column + to - first, first + count - to, -1, 0});
      }
      column += count;
    }
  }
}

/// Adds every column to where ForEachColumnRun says that it was seen: rows[tap][column − begin] of
/// one channel to its image `plane`.
void AddColumns(const float* rows, const Window& window, int64_t begin, int64_t end, float* plane);

}  // namespace ptq
