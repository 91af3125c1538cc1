// Reading an image at places that a grid names: ai.onnx GridSample, and AffineGrid, which makes
// such grids.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "product/matmul_core.h"
#include "window.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

enum class Interpolation { kNearest, kLinear, kCubic };
enum class Padding { kZeros, kBorder, kReflection };

struct GridAttributes {
  Interpolation interpolation;
  Padding padding;
  bool align_corners;
};

/// The source elements along one axis that make up a sample: index -1 counts as zero.
struct AxisTaps {
  int count = 0;
  std::array<int64_t, 4> index;
  std::array<float, 4> weight;

  void Add(int64_t at, float share) {
    index[static_cast<size_t>(count)] = at;
    weight[static_cast<size_t>(count++)] = share;
  }
};

/// x folded back into [low, high] as if both ends were mirrors.
float Reflected(float x, float low, float high) {
  const float range = high - low;
  if (range <= 0) return low;
  const float distance = x < low ? low - x : x - high;
  if (x >= low && x <= high) return x;
  const float turns = std::floor(distance / range);
  const float rest = distance - turns * range;
  const bool from_low = (x < low) == (std::fmod(turns, 2.0f) == 0);
  return from_low ? low + rest : high - rest;
}

/// One axis of the image, and where coordinates outside it go.
struct GridAxis {
  int64_t length;
  float low;
  float high;
  Padding padding;

  GridAxis(int64_t size, const GridAttributes& attributes)
      : length(size),
        low(attributes.align_corners ? 0.0f : -0.5f),
        high(static_cast<float>(size) - (attributes.align_corners ? 1.0f : 0.5f)),
        padding(attributes.padding) {}

  [[nodiscard]] int64_t Element(int64_t i) const {
    if (i >= 0 && i < length) return i;
    if (padding == Padding::kZeros) return -1;
    if (padding == Padding::kReflection) {
      i = static_cast<int64_t>(Reflected(static_cast<float>(i), low, high));
    }
    return std::clamp<int64_t>(i, 0, length - 1);
  }

  [[nodiscard]] float Inside(float x) const {
    if (x >= low && x <= high) return x;
    if (padding == Padding::kBorder) return std::clamp(x, 0.0f, static_cast<float>(length - 1));
    return padding == Padding::kReflection ? Reflected(x, low, high) : x;
  }
};

/// Keys' cubic convolution kernel with a = -0.75, at distance d.
float CubicWeight(float d) {
  constexpr float kA = -0.75f;
  d = std::abs(d);
  if (d <= 1) return ((kA + 2) * d - (kA + 3)) * d * d + 1;
  if (d < 2) return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA;
  return 0;
}

/// Taps for coordinate g in [-1, 1] of the grid.
AxisTaps TapsAt(float g, const GridAxis& axis, const GridAttributes& attributes) {
  const auto length = static_cast<float>(axis.length);
  float x = attributes.align_corners ? (g + 1) / 2 * (length - 1) : ((g + 1) * length - 1) / 2;
  // Far outside, or not a number: one place outside is as good as another, and fits an integer.
  x = std::isnan(x) ? -1.0f : std::clamp(x, -1e9f, 1e9f);
  AxisTaps taps;
  if (attributes.interpolation == Interpolation::kNearest) {
    taps.Add(axis.Element(static_cast<int64_t>(axis.Inside(std::nearbyint(x)))), 1.0f);
    return taps;
  }
  // The cubic kernel reaches over the border anyway: there only the elements are brought inside.
  if (attributes.interpolation == Interpolation::kLinear) x = axis.Inside(x);
  const float floor = std::floor(x);
  const auto first = static_cast<int64_t>(floor);
  if (attributes.interpolation == Interpolation::kLinear) {
    taps.Add(axis.Element(first), 1.0f - (x - floor));
    taps.Add(axis.Element(first + 1), x - floor);
    return taps;
  }
  for (int64_t i = first - 1; i <= first + 2; ++i) {
    taps.Add(axis.Element(i), CubicWeight(x - static_cast<float>(i)));
  }
  return taps;
}

/// One element of a plane and its share of a sample.
struct Share {
  int64_t offset;
  float weight;
};

/// Every combination of the axes' taps that lies in the image.
void CollectShares(const std::vector<AxisTaps>& taps, const std::vector<int64_t>& strides,
                   size_t axis, Share so_far, std::vector<Share>& shares) {
  if (axis == taps.size()) {
    shares.push_back(so_far);
    return;
  }
  for (int i = 0; i < taps[axis].count; ++i) {
    const auto at = static_cast<size_t>(i);
    if (taps[axis].index[at] < 0) continue;
    CollectShares(taps, strides, axis + 1,
                  {so_far.offset + taps[axis].index[at] * strides[axis],
                   so_far.weight * taps[axis].weight[at]},
                  shares);
  }
}

void GridSample(KernelContext& context, const GridAttributes& attributes) {
  const Tensor& x = context.input(0);
  const Tensor& grid = context.input(1);
  const Shape image = SpatialShape(x.shape());
  const auto rank = static_cast<int64_t>(image.size());
  if (grid.rank() != x.rank() || grid.dim(-1) != rank || grid.dim(0) != x.dim(0)) {
    throw InputError("GridSample: a grid of shape " + ToString(grid.shape()) +
                     " for an image of shape " + ToString(x.shape()));
  }
  const Shape places(grid.shape().begin() + 1, grid.shape().end() - 1);
  Shape shape{x.dim(0), x.dim(1)};
  shape.insert(shape.end(), places.begin(), places.end());
  Tensor result(DType::kFloat32, shape);
  const int64_t per_image = NumElements(places), plane = NumElements(image), channels = x.dim(1);
  if (plane == 0 && result.size() > 0) throw InputError("GridSample of an empty image");
  std::vector<GridAxis> axes;
  for (const int64_t length : image) axes.emplace_back(length, attributes);
  const auto strides = RowMajorStrides(image);
  const float* from = x.data<float>().data();
  const float* coordinates = grid.data<float>().data();
  float* to = result.mutable_data<float>().data();
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, 8 * channels));
  ParallelForTiles(x.dim(0) * per_image, grain, [&](int64_t begin, int64_t end) {
    std::vector<AxisTaps> taps(axes.size());
    std::vector<Share> shares;
    for (int64_t i = begin; i < end; ++i) {
      // The grid names the last axis of the image first.
      for (size_t a = 0; a < axes.size(); ++a) {
        taps[a] =
            TapsAt(coordinates[(i + 1) * rank - 1 - static_cast<int64_t>(a)], axes[a], attributes);
      }
      shares.clear();
      CollectShares(taps, strides, 0, {0, 1.0f}, shares);
      const int64_t first = i / per_image * channels;
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (const Share& share : shares) {
          sum += share.weight * from[(first + c) * plane + share.offset];
        }
        to[(first + c) * per_image + i % per_image] = sum;
      }
    }
  });
  context.set_output(0, std::move(result));
}

/// Coordinate i of n between -1 and 1: of the middle of pixel i, or with `align_corners` from end
/// to end.
float Coordinate(int64_t i, int64_t n, bool align_corners) {
  const auto at = static_cast<float>(i), count = static_cast<float>(n);
  if (align_corners) return n == 1 ? 0.0f : -1.0f + at * (2.0f / (count - 1));
  return (2 * at + 1) / count - 1.0f;
}

void AffineGrid(KernelContext& context, bool align_corners) {
  const Tensor& theta = context.input(0);
  const Shape size = context.input(1).ToInt64s();
  const auto rank = static_cast<int64_t>(size.size()) - 2;
  if (rank < 1 || theta.shape() != Shape{size[0], rank, rank + 1}) {
    throw InputError("AffineGrid: theta of shape " + ToString(theta.shape()) + " for size " +
                     ToString(size));
  }
  const Shape image(size.begin() + 2, size.end());
  const int64_t places = NumElements(image);
  // Homogeneous coordinates [places, rank + 1], the last axis first.
  Tensor base(DType::kFloat32, {places, rank + 1});
  float* out = base.mutable_data<float>().data();
  for (int64_t i = 0; i < places; ++i) {
    int64_t rest = i;
    for (auto axis = image.rbegin(); axis != image.rend(); ++axis) {
      *out++ = Coordinate(rest % *axis, *axis, align_corners);
      rest /= *axis;
    }
    *out++ = 1.0f;
  }
  MatMulOptions options;
  options.transpose_b = true;
  Shape shape{size[0]};
  shape.insert(shape.end(), image.begin(), image.end());
  shape.push_back(rank);
  context.set_output(0, MatMul(base, theta, options).Reshaped(shape));
}

Interpolation ParseInterpolation(const std::string& mode) {
  if (mode == "bilinear" || mode == "linear") return Interpolation::kLinear;
  if (mode == "bicubic" || mode == "cubic") return Interpolation::kCubic;
  if (mode == "nearest") return Interpolation::kNearest;
  throw UnsupportedError("GridSample with mode '" + mode + "'");
}

Padding ParsePadding(const std::string& mode) {
  if (mode == "zeros") return Padding::kZeros;
  if (mode == "border") return Padding::kBorder;
  if (mode == "reflection") return Padding::kReflection;
  throw UnsupportedError("GridSample with padding_mode '" + mode + "'");
}

}  // namespace

/// ai.onnx GridSample over any number of spatial axes: X[N, C, …], grid[N, …, rank].
std::unique_ptr<Kernel> MakeGridSample(const Node& node) {
  const GridAttributes attributes{ParseInterpolation(node.String("mode", "linear")),
                                  ParsePadding(node.String("padding_mode", "zeros")),
                                  node.Int("align_corners", 0) != 0};
  return MakeKernel([attributes](KernelContext& context) { GridSample(context, attributes); });
}

/// ai.onnx AffineGrid: theta[N, rank, rank + 1], size [N, C, …] -> grid[N, …, rank].
std::unique_ptr<Kernel> MakeAffineGrid(const Node& node) {
  const bool align_corners = node.Int("align_corners", 0) != 0;
  return MakeKernel(
      [align_corners](KernelContext& context) { AffineGrid(context, align_corners); });
}

}  // namespace ptq
