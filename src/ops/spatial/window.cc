// Resolves strides, dilations, pads and auto_pad for each axis, and checks that they fit.
#include "window.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// `values` with its default of ones (or zeros) and a length that fits.
Shape Filled(const Shape& values, size_t count, int64_t fallback, const char* name) {
  if (values.empty()) return Shape(count, fallback);
  if (values.size() != count) {
    throw InputError(std::string("attribute ") + name + " has " + std::to_string(values.size()) +
                     " values instead of " + std::to_string(count));
  }
  return values;
}

/// Places of the window that fit in the padded axis.
int64_t CountPlaces(const WindowAxis& axis, bool ceil_mode) {
  const int64_t room = axis.input + axis.pad_begin + axis.pad_end - axis.Span();
  if (room < 0) return 0;
  int64_t places = room / axis.stride + 1;
  if (ceil_mode && room % axis.stride != 0) {
    // One more place, unless it would start in the padding behind the data.
    if (places * axis.stride < axis.input + axis.pad_begin) ++places;
  }
  return places;
}

void PadToSame(WindowAxis& axis, bool upper) {
  axis.output = (axis.input + axis.stride - 1) / axis.stride;
  const int64_t total =
      std::max<int64_t>(0, (axis.output - 1) * axis.stride + axis.Span() - axis.input);
  axis.pad_begin = upper ? total / 2 : total - total / 2;
  axis.pad_end = total - axis.pad_begin;
}

Shape Collect(const Window& window, int64_t WindowAxis::*member) {
  Shape shape;
  for (const WindowAxis& axis : window) shape.push_back(axis.*member);
  return shape;
}

}  // namespace

WindowAttributes::WindowAttributes(const Node& node)
    : kernel_shape(node.Ints("kernel_shape")),
      strides(node.Ints("strides")),
      dilations(node.Ints("dilations")),
      pads(node.Ints("pads")),
      auto_pad(node.String("auto_pad", "NOTSET")),
      ceil_mode(node.Int("ceil_mode", 0) != 0) {
  if (auto_pad != "NOTSET" && auto_pad != "VALID" && auto_pad != "SAME_UPPER" &&
      auto_pad != "SAME_LOWER" && !auto_pad.empty()) {
    throw UnsupportedError(node.op_type() + " with auto_pad '" + auto_pad + "'");
  }
}

Window ResolveWindow(const WindowAttributes& attributes, const Shape& input, const Shape& kernel) {
  const size_t rank = input.size();
  if (kernel.size() != rank) {
    throw InputError("a kernel of shape " + ToString(kernel) + " over spatial dimensions " +
                     ToString(input));
  }
  const bool padded = attributes.auto_pad == "NOTSET" || attributes.auto_pad.empty();
  const auto strides = Filled(attributes.strides, rank, 1, "strides");
  const auto dilations = Filled(attributes.dilations, rank, 1, "dilations");
  const auto pads = Filled(padded ? attributes.pads : Shape(), 2 * rank, 0, "pads");
  Window window;
  for (size_t i = 0; i < rank; ++i) {
    WindowAxis axis{input[i], 0, kernel[i], strides[i], dilations[i], pads[i], pads[rank + i]};
    if (axis.kernel < 1 || axis.stride < 1 || axis.dilation < 1) {
      throw InputError("kernel, strides and dilations must be positive");
    }
    if (attributes.auto_pad.starts_with("SAME")) {
      PadToSame(axis, attributes.auto_pad == "SAME_UPPER");
    } else {
      axis.output = CountPlaces(axis, attributes.ceil_mode);
    }
    window.push_back(axis);
  }
  return window;
}

void AddColumns(const float* rows, const Window& window, int64_t begin, int64_t end, float* plane) {
  const int64_t width = end - begin;
  ForEachColumnRun(window, begin, end, [&](const ColumnRun& run) {
    if (run.image < 0) return;
    const float* in = rows + run.tap * width + run.column - begin;
    for (int64_t i = 0; i < run.count; ++i) plane[run.image + i * run.step] += in[i];
  });
}

Shape SpatialShape(const Shape& shape) {
  if (shape.size() < 3) {
    throw InputError("batch, channels and spatial dimensions are expected, found shape " +
                     ToString(shape));
  }
  return {shape.begin() + 2, shape.end()};
}

Shape OutputShape(const Window& window) { return Collect(window, &WindowAxis::output); }
Shape InputShape(const Window& window) { return Collect(window, &WindowAxis::input); }
Shape KernelShape(const Window& window) { return Collect(window, &WindowAxis::kernel); }

}  // namespace ptq
