// Resize: every axis on its own is a table of source elements and weights, applied one after the
// other.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "arguments.h"
#include "array.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

enum class ResizeMode { kNearest, kLinear, kCubic };

struct ResizeAttributes {
  ResizeMode mode;
  std::string coordinates;
  std::string nearest;
  std::string aspect;
  Shape axes;
  float cubic_a;
  float extrapolation;
  bool exclude_outside;
  bool antialias;
};

/// What one axis is resized by. `start` and `end` are the region of tf_crop_and_resize.
struct AxisScale {
  int64_t input;
  int64_t output;
  float scale;
  float start = 0;
  float end = 1;
};

/// For each output: `width` source indices and their weights; `outside`: takes the extrapolation
/// value.
struct Taps {
  int64_t width;
  std::vector<int64_t> index;
  std::vector<float> weight;
  std::vector<bool> outside;
};

/// Where place i of the result lies among the elements of the source. In single precision, as other
/// runtimes compute it: a tie of the nearest mode depends on it.
float SourceCoordinate(const std::string& mode, const AxisScale& axis, int64_t i) {
  const auto in = static_cast<float>(axis.input);
  const auto out = static_cast<float>(axis.output);
  const auto x = static_cast<float>(i);
  if (mode == "half_pixel") return (x + 0.5f) / axis.scale - 0.5f;
  if (mode == "pytorch_half_pixel") return axis.output > 1 ? (x + 0.5f) / axis.scale - 0.5f : 0.0f;
  if (mode == "half_pixel_symmetric") {
    const float adjustment = out / (axis.scale * in);
    return in / 2 * (1 - adjustment) + (x + 0.5f) / axis.scale - 0.5f;
  }
  if (mode == "align_corners") return axis.output > 1 ? x * (in - 1) / (out - 1) : 0.0f;
  if (mode == "asymmetric") return x / axis.scale;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5f) / axis.scale;
  if (mode == "tf_crop_and_resize") {
    if (axis.output == 1) return 0.5f * (axis.start + axis.end) * (in - 1);
    return axis.start * (in - 1) + x * (axis.end - axis.start) * (in - 1) / (out - 1);
  }
  throw UnsupportedError("Resize with coordinate_transformation_mode '" + mode + "'");
}

int64_t NearestIndex(const std::string& mode, float x, float scale) {
  // Before opset 11 there was no choice: up to the next element when shrinking, down when growing.
  if (mode == "simple") return static_cast<int64_t>(scale < 1 ? std::ceil(x) : std::floor(x));
  if (mode == "round_prefer_floor") return static_cast<int64_t>(std::ceil(x - 0.5f));
  if (mode == "round_prefer_ceil") return static_cast<int64_t>(std::floor(x + 0.5f));
  if (mode == "floor") return static_cast<int64_t>(std::floor(x));
  if (mode == "ceil") return static_cast<int64_t>(std::ceil(x));
  throw UnsupportedError("Resize with nearest_mode '" + mode + "'");
}

/// Weight of a source element at distance d (Keys' cubic convolution kernel).
double CubicWeight(double d, double a) {
  d = std::abs(d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

void AddCubicTaps(Taps& taps, double x, const AxisScale& axis, const ResizeAttributes& attributes) {
  const auto first = static_cast<int64_t>(std::floor(x)) - 1;
  double weights[4];
  double sum = 0;
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t at = first + k;
    const bool outside = at < 0 || at >= axis.input;
    weights[k] = attributes.exclude_outside && outside
                     ? 0
                     : CubicWeight(x - static_cast<double>(at), attributes.cubic_a);
    sum += weights[k];
  }
  for (int64_t k = 0; k < 4; ++k) {
    taps.index.push_back(std::clamp<int64_t>(first + k, 0, axis.input - 1));
    taps.weight.push_back(
        static_cast<float>(attributes.exclude_outside ? weights[k] / sum : weights[k]));
  }
}

/// Elements on each side of a place that a filter reaches; when shrinking it is stretched.
float SupportOf(const AxisScale& axis, const ResizeAttributes& attributes) {
  const float reach = attributes.mode == ResizeMode::kLinear ? 1.0f : 2.0f;
  return reach / std::min(axis.scale, 1.0f);
}

/// Linear or cubic taps of a filter that is as wide as what one result element covers.
void AddAntialiasTaps(Taps& taps, float x, const AxisScale& axis,
                      const ResizeAttributes& attributes) {
  const float support = SupportOf(axis, attributes);
  const float squeeze = std::min(axis.scale, 1.0f);
  // In single precision and with these halves, as other runtimes choose the elements.
  const float center = x + 0.5f;
  const auto first = static_cast<int64_t>(std::floor(center - support + 0.5f));
  const auto last = static_cast<int64_t>(std::floor(center + support + 0.5f));
  std::vector<double> weights;
  double sum = 0;
  for (int64_t k = first; k < last; ++k) {
    const bool outside = k < 0 || k >= axis.input;
    const double distance = (static_cast<float>(k) - center + 0.5f) * squeeze;
    const double weight = attributes.mode == ResizeMode::kLinear
                              ? std::max(0.0, 1 - std::abs(distance))
                              : CubicWeight(distance, attributes.cubic_a);
    weights.push_back(attributes.exclude_outside && outside ? 0 : weight);
    sum += weights.back();
  }
  for (int64_t k = 0; k < taps.width; ++k) {
    const auto at = static_cast<size_t>(k);
    taps.index.push_back(std::clamp<int64_t>(first + k, 0, axis.input - 1));
    taps.weight.push_back(at < weights.size() && sum != 0 ? static_cast<float>(weights[at] / sum)
                                                          : 0.0f);
  }
}

Taps MakeTaps(const AxisScale& axis, const ResizeAttributes& attributes) {
  Taps taps;
  const bool antialias = attributes.antialias && attributes.mode != ResizeMode::kNearest;
  taps.width = attributes.mode == ResizeMode::kNearest  ? 1
               : attributes.mode == ResizeMode::kLinear ? 2
                                                        : 4;
  if (antialias) {
    taps.width = 2 * static_cast<int64_t>(std::ceil(SupportOf(axis, attributes))) + 1;
  }
  const double last = static_cast<double>(axis.input - 1);
  for (int64_t i = 0; i < axis.output; ++i) {
    double x = SourceCoordinate(attributes.coordinates, axis, i);
    taps.outside.push_back(attributes.coordinates == "tf_crop_and_resize" && (x < 0 || x > last));
    if (attributes.mode == ResizeMode::kNearest) {
      taps.index.push_back(
          std::clamp<int64_t>(NearestIndex(attributes.nearest, x, axis.scale), 0, axis.input - 1));
      taps.weight.push_back(1.0f);
    } else if (antialias) {
      AddAntialiasTaps(taps, static_cast<float>(x), axis, attributes);
    } else if (attributes.mode == ResizeMode::kLinear) {
      x = std::clamp(x, 0.0, last);
      const auto low = static_cast<int64_t>(std::floor(x));
      const double part = x - static_cast<double>(low);
      taps.index.insert(taps.index.end(), {low, std::min(low + 1, axis.input - 1)});
      taps.weight.push_back(static_cast<float>(1 - part));
      taps.weight.push_back(static_cast<float>(part));
    } else {
      AddCubicTaps(taps, x, axis, attributes);
    }
  }
  return taps;
}

/// Applies the taps along the middle axis of [outer, length, inner].
template <class T>
void ApplyTaps(const T* from, const Taps& taps, int64_t outer, int64_t length, int64_t inner,
               T* to) {
  const auto output = static_cast<int64_t>(taps.outside.size());
  const int64_t grain =
      std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, inner * taps.width));
  ParallelForTiles(outer * output, grain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      T* out = to + line * inner;
      const T* base = from + line / output * length * inner;
      const int64_t first = line % output * taps.width;
      const auto source = [&](int64_t k) {
        return base + taps.index[static_cast<size_t>(first + k)] * inner;
      };
      if (taps.width == 1) {
        std::copy_n(source(0), inner, out);
        continue;
      }
      if constexpr (std::is_same_v<T, float>) {
        ArrayMap<float> sum(out, inner);
        sum = ConstArrayMap<float>(source(0), inner) * taps.weight[static_cast<size_t>(first)];
        for (int64_t k = 1; k < taps.width; ++k) {
          sum +=
              ConstArrayMap<float>(source(k), inner) * taps.weight[static_cast<size_t>(first + k)];
        }
      }
    }
  });
}

Tensor ResizeAxis(const Tensor& data, int64_t axis, const Taps& taps) {
  Shape shape = data.shape();
  shape[static_cast<size_t>(axis)] = static_cast<int64_t>(taps.outside.size());
  Tensor result(data.dtype(), shape);
  if (result.size() == 0) return result;
  VisitTypes<float, uint8_t, int8_t, int32_t, int64_t>(data.dtype(), [&](auto zero) {
    using T = decltype(zero);
    ApplyTaps(data.data<T>().data(), taps, NumElements(shape, 0, axis), data.dim(axis),
              NumElements(shape, axis + 1, data.rank()), result.mutable_data<T>().data());
  });
  return result;
}

/// Writes the extrapolation value wherever any axis lies outside the source.
void Extrapolate(Tensor& result, const std::vector<Taps>& taps, float value) {
  const auto outside_at = [&](int64_t index) {
    for (size_t axis = taps.size(); axis-- > 0;) {
      const auto size = static_cast<int64_t>(taps[axis].outside.size());
      if (taps[axis].outside[static_cast<size_t>(index % size)]) return true;
      index /= size;
    }
    return false;
  };
  int64_t index = 0;
  for (float& element : result.mutable_data<float>()) {
    if (outside_at(index++)) element = value;
  }
}

/// Float values to what integers of this type can hold, halves up.
void RoundTo(DType dtype, Tensor& values) {
  const IntegerRange range = RangeOf(dtype);
  for (float& value : values.mutable_data<float>()) {
    value = std::clamp(std::floor(value + 0.5f), static_cast<float>(range.lowest),
                       static_cast<float>(range.highest));
  }
}

Tensor Resized(const Tensor& data, const std::vector<AxisScale>& axes,
               const ResizeAttributes& attributes) {
  const bool crops = attributes.coordinates == "tf_crop_and_resize";
  const auto keeps = [](const AxisScale& axis) { return axis.input == axis.output; };
  // As other runtimes do, also where scales ask for places between the elements.
  if (!crops && std::ranges::all_of(axes, keeps)) return data;
  // Integers between integers are computed in float and cut off at the end; those of a wide filter
  // are rounded after each axis, the last one first.
  const bool exact = data.dtype() == DType::kFloat32 || attributes.mode == ResizeMode::kNearest;
  Tensor result = exact ? data : data.Cast(DType::kFloat32);
  std::vector<Taps> taps(axes.size());
  for (size_t i = axes.size(); i-- > 0;) {
    if (axes[i].input == 0 && axes[i].output > 0) throw InputError("Resize of an empty axis");
    taps[i] = MakeTaps(axes[i], attributes);
    // Nor is a wide filter applied where the length stays.
    const bool same =
        !crops && axes[i].input == axes[i].output && (axes[i].scale == 1 || attributes.antialias);
    if (same) continue;
    result = ResizeAxis(result, static_cast<int64_t>(i), taps[i]);
    if (!exact && attributes.antialias) RoundTo(data.dtype(), result);
  }
  if (crops) {
    Extrapolate(result, taps, attributes.extrapolation);
  }
  return result.Cast(data.dtype());
}

std::vector<float> FloatsOf(const KernelContext& context, size_t i) {
  if (!context.has_input(i)) return {};
  const auto values = context.input(i).data<float>();
  return {values.begin(), values.end()};
}

int64_t LengthFrom(float value) {
  constexpr float kMost = 0x1p40f;
  if (value >= 0 && value <= kMost) return int64_t(value);
  throw InputError("Resize: its scales ask for " + std::to_string(value) + " elements of an axis");
}

/// Axis lengths by scale.
void ScaleAxes(std::vector<AxisScale>& all, const Shape& axes, const std::vector<float>& scales) {
  if (scales.size() != axes.size()) throw InputError("Resize: one scale per axis is needed");
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisScale& axis = all[static_cast<size_t>(axes[i])];
    if (!(scales[i] > 0 && std::isfinite(scales[i]))) {
      throw InputError("Resize: scales must be positive");
    }
    axis.scale = scales[i];
    // In single precision, as everybody computes the length.
    axis.output = LengthFrom(std::floor(static_cast<float>(axis.input) * scales[i]));
  }
}

/// Axis lengths given outright, or as the box that the result must fit in or cover.
void SizeAxes(std::vector<AxisScale>& all, const Shape& axes, const Shape& sizes,
              const std::string& aspect) {
  if (sizes.size() != axes.size()) throw InputError("Resize: one size per axis is needed");
  double common = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisScale& axis = all[static_cast<size_t>(axes[i])];
    if (sizes[i] < 0) throw InputError("Resize: sizes must not be negative");
    axis.output = sizes[i];
    axis.scale =
        axis.input == 0 ? 1 : static_cast<double>(sizes[i]) / static_cast<double>(axis.input);
    const bool first = i == 0;
    common = first                    ? axis.scale
             : aspect == "not_larger" ? std::min(common, double{axis.scale})
                                      : std::max(common, double{axis.scale});
  }
  if (aspect == "stretch") return;
  for (const int64_t i : axes) {
    AxisScale& axis = all[static_cast<size_t>(i)];
    axis.scale = common;
    // In single precision, as above: the product of a third and 3 is 1.
    axis.output = LengthFrom(std::round(axis.scale * static_cast<float>(axis.input)));
  }
}

void Resize(KernelContext& context, const ResizeAttributes& attributes, size_t scales_input) {
  const Tensor& data = context.input(0);
  std::vector<AxisScale> all;
  for (const int64_t dim : data.shape()) all.push_back({dim, dim, 1.0f});
  Shape axes = NormalizeAxes(attributes.axes, data.rank());
  if (axes.empty()) {
    for (int64_t i = 0; i < data.rank(); ++i) axes.push_back(i);
  }
  const auto scales = FloatsOf(context, scales_input);
  const auto sizes = scales_input == 2 ? InputOrAttribute(context, 3, {}) : Shape();
  if (!sizes.empty()) {
    SizeAxes(all, axes, sizes, attributes.aspect);
  } else if (data.rank() > 0) {
    ScaleAxes(all, axes, scales);
  }
  if (attributes.coordinates == "tf_crop_and_resize") {
    const auto region = FloatsOf(context, 1);
    if (region.size() != 2 * axes.size()) throw InputError("Resize: roi has the wrong length");
    for (size_t i = 0; i < axes.size(); ++i) {
      all[static_cast<size_t>(axes[i])].start = region[i];
      all[static_cast<size_t>(axes[i])].end = region[axes.size() + i];
    }
  }
  context.set_output(0, Resized(data, all, attributes));
}

ResizeMode ParseMode(const Node& node) {
  const std::string mode = node.String("mode", "nearest");
  if (mode == "nearest") return ResizeMode::kNearest;
  if (mode == "linear" || mode == "bilinear") return ResizeMode::kLinear;
  if (mode == "cubic") return ResizeMode::kCubic;
  throw UnsupportedError(node.op_type() + " with mode '" + mode + "'");
}

}  // namespace

/// ai.onnx Resize.
std::unique_ptr<Kernel> MakeResize(const Node& node) {
  const bool old = node.opset() < 11;
  const ResizeAttributes attributes{
      ParseMode(node),
      old ? "asymmetric" : node.String("coordinate_transformation_mode", "half_pixel"),
      old ? "simple" : node.String("nearest_mode", "round_prefer_floor"),
      node.String("keep_aspect_ratio_policy", "stretch"),
      node.Ints("axes"),
      node.Float("cubic_coeff_a", -0.75f),
      node.Float("extrapolation_value", 0.0f),
      node.Int("exclude_outside", 0) != 0,
      node.Int("antialias", 0) != 0};
  return MakeKernel([attributes, scales = size_t{old ? 1u : 2u}](KernelContext& context) {
    Resize(context, attributes, scales);
  });
}

/// ai.onnx Upsample, which Resize replaced: scales by attribute (opset 7) or input (opset 9).
std::unique_ptr<Kernel> MakeUpsample(const Node& node) {
  const ResizeAttributes attributes{ParseMode(node), "asymmetric", "floor", "stretch", {},
                                    -0.75f,          0.0f,         false,   false};
  const auto scales = node.Floats("scales");
  return MakeKernel([attributes, scales](KernelContext& context) {
    if (context.has_input(1)) return Resize(context, attributes, 1);
    const Tensor& data = context.input(0);
    std::vector<AxisScale> all;
    Shape axes;
    for (const int64_t dim : data.shape()) {
      axes.push_back(static_cast<int64_t>(axes.size()));
      all.push_back({dim, dim, 1.0f});
    }
    ScaleAxes(all, axes, scales);
    context.set_output(0, Resized(data, all, attributes));
  });
}

}  // namespace ptq
