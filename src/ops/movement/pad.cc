// Padding and cropping by a table of source indices for each axis: ai.onnx Pad, CenterCropPad.
#include <algorithm>
#include <string>

#include "arguments.h"
#include "strided.h"

#include "ptq/base/parallel.h"
#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

enum class PadMode { kConstant, kReflect, kEdge, kWrap };

PadMode ParseMode(const std::string& name) {
  if (name == "constant") return PadMode::kConstant;
  if (name == "reflect") return PadMode::kReflect;
  if (name == "edge") return PadMode::kEdge;
  if (name == "wrap") return PadMode::kWrap;
  throw UnsupportedError("Pad with mode '" + name + "'");
}

int64_t FloorMod(int64_t a, int64_t b) { return (a % b + b) % b; }

/// Source index of each place of a padded axis, -1 where the constant goes. Negative pads crop
/// first; what is left is what reflects, repeats its edge or wraps.
Shape SourceIndices(PadMode mode, int64_t length, int64_t before, int64_t after) {
  const int64_t first = std::max<int64_t>(0, -before);
  const int64_t kept = length - first - std::max<int64_t>(0, -after);
  const int64_t size = length + before + after;
  if (size < 0) throw InputError("Pad: more is cut off an axis than it has");
  std::vector<int64_t> indices(static_cast<size_t>(size), -1);
  if (kept <= 0) {
    if (size > 0 && mode != PadMode::kConstant) throw InputError("Pad: an empty axis has no edge");
    return indices;
  }
  for (int64_t i = 0; i < size; ++i) {
    const int64_t at = i - std::max<int64_t>(0, before);  // index among the kept ones
    int64_t source = at;
    if (at < 0 || at >= kept) {
      if (mode == PadMode::kConstant) continue;
      if (mode == PadMode::kEdge) source = std::clamp<int64_t>(at, 0, kept - 1);
      if (mode == PadMode::kWrap) source = FloorMod(at, kept);
      if (mode == PadMode::kReflect) {
        const int64_t period = std::max<int64_t>(1, 2 * (kept - 1));
        const int64_t phase = FloorMod(at, period);
        source = phase < kept ? phase : period - phase;
      }
    }
    indices[static_cast<size_t>(i)] = first + source;
  }
  return indices;
}

/// Fills `to` (of the padded shape) with elements of `from` or `value`.
template <class T>
void FillPadded(T* to, const T* from, const Shape& source,
                const std::vector<std::vector<int64_t>>& maps, T value) {
  const size_t last = maps.size() - 1;
  const auto strides = RowMajorStrides(source);
  const auto width = static_cast<int64_t>(maps[last].size());
  int64_t rows = 1;
  for (size_t axis = 0; axis < last; ++axis) rows *= static_cast<int64_t>(maps[axis].size());
  ParallelForTiles(rows, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) {
                       int64_t rest = row;
                       int64_t offset = 0;
                       bool outside = false;
                       for (size_t axis = last; axis-- > 0;) {
                         const auto size = static_cast<int64_t>(maps[axis].size());
                         const int64_t index = maps[axis][static_cast<size_t>(rest % size)];
                         rest /= size;
                         outside = outside || index < 0;
                         offset += index * strides[axis];
                       }
                       T* out = to + row * width;
                       for (int64_t i = 0; i < width; ++i) {
                         const int64_t index = maps[last][static_cast<size_t>(i)];
                         out[i] = outside || index < 0 ? value : from[offset + index];
                       }
                     }
                   });
}

Tensor Padded(const Tensor& data, PadMode mode, const Shape& pads, Shape axes,
              const Tensor& value) {
  const auto rank = static_cast<size_t>(data.rank());
  if (axes.empty()) {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (pads.size() != 2 * axes.size()) {
    throw InputError("Pad: " + std::to_string(pads.size()) + " pads for " +
                     std::to_string(axes.size()) + " axes");
  }
  if (rank == 0) return data;
  std::vector<std::pair<int64_t, int64_t>> around(rank);
  for (size_t i = 0; i < axes.size(); ++i) {
    around[static_cast<size_t>(NormalizeAxis(axes[i], data.rank()))] = {pads[i],
                                                                        pads[axes.size() + i]};
  }
  std::vector<std::vector<int64_t>> maps;
  Shape shape;
  for (size_t i = 0; i < rank; ++i) {
    maps.push_back(SourceIndices(mode, data.shape()[i], around[i].first, around[i].second));
    shape.push_back(static_cast<int64_t>(maps.back().size()));
  }
  if (shape == data.shape() && std::ranges::count(pads, 0) == std::ssize(pads)) return data;
  Tensor result(data.dtype(), shape);
  if (result.size() == 0) return result;
  VisitWidth(ElementBytes(data.dtype()), [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    FillPadded(reinterpret_cast<T*>(result.mutable_bytes().data()),
               reinterpret_cast<const T*>(data.bytes().data()), data.shape(), maps,
               *reinterpret_cast<const T*>(value.bytes().data()));
  });
  return result;
}

}  // namespace

/// ai.onnx Pad, opset 2 to 10: pads and value by attribute.
std::unique_ptr<Kernel> MakePadByAttributes(const Node& node) {
  const PadMode mode = ParseMode(node.String("mode", "constant"));
  const auto pads = node.Ints("pads");
  const float value = node.Float("value", 0.0f);
  return MakeKernel([=](KernelContext& context) {
    const Tensor& data = context.input(0);
    context.set_output(0, Padded(data, mode, pads, {}, Tensor::Scalar(value).Cast(data.dtype())));
  });
}

/// ai.onnx Pad, opset 11 and later: pads, value and (opset 18) axes by input.
std::unique_ptr<Kernel> MakePad(const Node& node) {
  const PadMode mode = ParseMode(node.String("mode", "constant"));
  return MakeKernel([mode](KernelContext& context) {
    const Tensor& data = context.input(0);
    const Tensor value =
        context.has_input(2) ? context.input(2) : Tensor::Scalar(0.0f).Cast(data.dtype());
    if (value.size() != 1 || value.dtype() != data.dtype()) {
      throw InputError("Pad: the value must be one element of the data's type");
    }
    context.set_output(0, Padded(data, mode, context.input(1).ToInt64s(),
                                 InputOrAttribute(context, 3, {}), value));
  });
}

/// ai.onnx CenterCropPad: the axes brought to the given lengths, as much on both sides.
std::unique_ptr<Kernel> MakeCenterCropPad(const Node& node) {
  return MakeKernel([attribute = node.Ints("axes")](KernelContext& context) {
    const Tensor& data = context.input(0);
    const auto lengths = context.input(1).ToInt64s();
    auto axes = NormalizeAxes(attribute, data.rank());
    for (int64_t i = 0; attribute.empty() && i < data.rank(); ++i) axes.push_back(i);
    if (axes.size() != lengths.size()) {
      throw InputError("CenterCropPad: " + std::to_string(lengths.size()) + " lengths for " +
                       std::to_string(axes.size()) + " axes");
    }
    Shape before, after;
    for (size_t i = 0; i < axes.size(); ++i) {
      // Of an odd difference the end takes the larger part, of padding and of cropping alike.
      const int64_t more = lengths[i] - data.dim(axes[i]);
      before.push_back(more / 2);
      after.push_back(more - more / 2);
    }
    before.insert(before.end(), after.begin(), after.end());
    context.set_output(
        0, Padded(data, PadMode::kConstant, before, axes, Tensor::Scalar(0.0f).Cast(data.dtype())));
  });
}

}  // namespace ptq
