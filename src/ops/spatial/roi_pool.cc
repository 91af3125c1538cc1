// Pooling of regions of interest: ai.onnx RoiAlign, MaxRoiPool.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "array.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct AlignAttributes {
  bool largest;     ///< mode max
  bool half_pixel;  ///< pixel centers lie at halves
  int64_t height;
  int64_t width;
  int64_t sampling_ratio;
  float scale;
};

/// Four elements of a plane and their weights: a point between them.
struct Corners {
  int64_t offset[4] = {0, 0, 0, 0};
  float weight[4] = {0, 0, 0, 0};
};

Corners CornersOf(float y, float x, int64_t height, int64_t width) {
  Corners corners;
  const auto outside = [](float at, int64_t n) { return at < -1 || at > static_cast<float>(n); };
  if (outside(y, height) || outside(x, width)) return corners;
  const auto split = [](float at, int64_t n, int64_t(&index)[2], float(&weight)[2]) {
    at = std::clamp(at, 0.0f, static_cast<float>(n - 1));
    index[0] = static_cast<int64_t>(at);
    index[1] = std::min(index[0] + 1, n - 1);
    weight[1] = at - static_cast<float>(index[0]);
    weight[0] = 1 - weight[1];
  };
  int64_t row[2], column[2];
  float down[2], right[2];
  split(y, height, row, down);
  split(x, width, column, right);
  for (size_t i = 0; i < 4; ++i) {
    corners.offset[i] = row[i / 2] * width + column[i % 2];
    corners.weight[i] = down[i / 2] * right[i % 2];
  }
  return corners;
}

/// Where one bin is sampled.
struct Bin {
  float y, x;             ///< its corner
  float height, width;    ///< its size
  int64_t rows, columns;  ///< samples in each direction
};

std::vector<Corners> SamplesOf(const Bin& bin, int64_t height, int64_t width) {
  std::vector<Corners> samples;
  for (int64_t i = 0; i < bin.rows; ++i) {
    const float y = bin.y + (static_cast<float>(i) + 0.5f) * bin.height / float(bin.rows);
    for (int64_t j = 0; j < bin.columns; ++j) {
      const float x = bin.x + (static_cast<float>(j) + 0.5f) * bin.width / float(bin.columns);
      samples.push_back(CornersOf(y, x, height, width));
    }
  }
  return samples;
}

float Pool(const float* plane, const std::vector<Corners>& samples, bool largest) {
  float result = 0;
  for (size_t s = 0; s < samples.size(); ++s) {
    float sum = 0;
    float most = 0;
    for (size_t i = 0; i < 4; ++i) {
      const float term = samples[s].weight[i] * plane[samples[s].offset[i]];
      sum += term;
      most = i == 0 ? term : std::max(most, term);
    }
    // The largest is that of the weighted elements, as other runtimes take it.
    if (largest) {
      result = s == 0 ? most : std::max(result, most);
    } else {
      result += sum;
    }
  }
  return largest ? result : result / static_cast<float>(std::max<size_t>(1, samples.size()));
}

Bin BinAt(const float* roi, int64_t row, int64_t column, const AlignAttributes& attributes) {
  const float shift = attributes.half_pixel ? 0.5f : 0.0f;
  const float left = roi[0] * attributes.scale - shift, top = roi[1] * attributes.scale - shift;
  float width = roi[2] * attributes.scale - shift - left;
  float height = roi[3] * attributes.scale - shift - top;
  if (!attributes.half_pixel) {
    width = std::max(width, 1.0f);
    height = std::max(height, 1.0f);
  }
  const float bin_width = width / static_cast<float>(attributes.width);
  const float bin_height = height / static_cast<float>(attributes.height);
  const auto samples = [&](float size) {
    if (attributes.sampling_ratio > 0) return attributes.sampling_ratio;
    if (!(size < 1e6f)) throw InputError("RoiAlign: a region is too large");
    return std::max<int64_t>(0, static_cast<int64_t>(std::ceil(size)));
  };
  return {top + static_cast<float>(row) * bin_height,
          left + static_cast<float>(column) * bin_width,
          bin_height,
          bin_width,
          samples(bin_height),
          samples(bin_width)};
}

/// The image of a region. Throws InputError when there is none of that number.
int64_t CheckedImage(int64_t image, const Tensor& x) {
  if (image < 0 || image >= x.dim(0)) {
    throw InputError("a region lies in image " + std::to_string(image) + " of " +
                     std::to_string(x.dim(0)));
  }
  return image;
}

void CheckInputs(const Tensor& x, const Tensor& rois, int64_t columns) {
  if (x.rank() != 4 || rois.rank() != 2 || rois.dim(1) != columns || x.dim(2) * x.dim(3) == 0) {
    throw InputError("regions of shape " + ToString(rois.shape()) + " in images of shape " +
                     ToString(x.shape()));
  }
}

void RoiAlign(KernelContext& context, const AlignAttributes& attributes) {
  const Tensor& x = context.input(0);
  const Tensor& rois = context.input(1);
  const auto images = context.input(2).ToInt64s();
  CheckInputs(x, rois, 4);
  if (static_cast<int64_t>(images.size()) != rois.dim(0)) {
    throw InputError("RoiAlign: one image number for each region is needed");
  }
  const int64_t channels = x.dim(1), plane = x.dim(2) * x.dim(3);
  const int64_t bins = attributes.height * attributes.width;
  Tensor out(DType::kFloat32, {rois.dim(0), channels, attributes.height, attributes.width});
  const float* from = x.data<float>().data();
  const float* boxes = rois.data<float>().data();
  float* to = out.mutable_data<float>().data();
  ParallelFor(rois.dim(0), [&](int64_t r) {
    const int64_t image = CheckedImage(images[static_cast<size_t>(r)], x);
    for (int64_t b = 0; b < bins; ++b) {
      const Bin bin = BinAt(boxes + 4 * r, b / attributes.width, b % attributes.width, attributes);
      const auto samples = SamplesOf(bin, x.dim(2), x.dim(3));
      for (int64_t c = 0; c < channels; ++c) {
        to[(r * channels + c) * bins + b] =
            Pool(from + (image * channels + c) * plane, samples, attributes.largest);
      }
    }
  });
  context.set_output(0, std::move(out));
}

/// Elements [begin, end) of an axis of `length` that bin `i` of `bins` covers.
std::pair<int64_t, int64_t> BinRange(int64_t i, int64_t bins, int64_t start, int64_t end,
                                     int64_t length) {
  const float size = static_cast<float>(std::max<int64_t>(end - start + 1, 1));
  const float step = size / static_cast<float>(bins);
  const auto at = [&](float place) {
    return std::clamp<int64_t>(static_cast<int64_t>(place) + start, 0, length);
  };
  return {at(std::floor(static_cast<float>(i) * step)),
          at(std::ceil(static_cast<float>(i + 1) * step))};
}

void MaxRoiPool(KernelContext& context, const Shape& pooled, float scale) {
  const Tensor& x = context.input(0);
  const Tensor& rois = context.input(1);
  CheckInputs(x, rois, 5);
  const int64_t channels = x.dim(1), height = x.dim(2), width = x.dim(3);
  Tensor out(DType::kFloat32, {rois.dim(0), channels, pooled[0], pooled[1]});
  const float* from = x.data<float>().data();
  float* to = out.mutable_data<float>().data();
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    const float* roi = rois.data<float>().data() + 5 * r;
    const int64_t image = CheckedImage(static_cast<int64_t>(roi[0]), x);
    const auto edge = [&](int i) { return static_cast<int64_t>(std::round(roi[i] * scale)); };
    for (int64_t c = 0; c < channels; ++c) {
      const float* plane = from + (image * channels + c) * height * width;
      for (int64_t bin = 0; bin < pooled[0] * pooled[1]; ++bin) {
        const auto [top, bottom] = BinRange(bin / pooled[1], pooled[0], edge(2), edge(4), height);
        const auto [left, right] = BinRange(bin % pooled[1], pooled[1], edge(1), edge(3), width);
        float most = top < bottom && left < right ? plane[top * width + left] : 0.0f;
        for (int64_t i = top; i < bottom; ++i) {
          for (int64_t j = left; j < right; ++j) most = std::max(most, plane[i * width + j]);
        }
        *to++ = most;
      }
    }
  }
  context.set_output(0, std::move(out));
}

}  // namespace

/// ai.onnx RoiAlign: X[N, C, H, W], regions [R, 4] as x1, y1, x2, y2, their images [R].
std::unique_ptr<Kernel> MakeRoiAlign(const Node& node) {
  const std::string mode = node.String("mode", "avg");
  if (mode != "avg" && mode != "max") throw UnsupportedError("RoiAlign with mode '" + mode + "'");
  const std::string coordinates = node.String(
      "coordinate_transformation_mode", node.opset() < 16 ? "output_half_pixel" : "half_pixel");
  const AlignAttributes attributes{mode == "max",
                                   coordinates == "half_pixel",
                                   node.Int("output_height", 1),
                                   node.Int("output_width", 1),
                                   node.Int("sampling_ratio", 0),
                                   node.Float("spatial_scale", 1.0f)};
  if (attributes.height < 1 || attributes.width < 1) {
    throw InputError("RoiAlign: the output's sizes must be positive");
  }
  return MakeKernel([attributes](KernelContext& context) { RoiAlign(context, attributes); });
}

/// ai.onnx MaxRoiPool: X[N, C, H, W], regions [R, 5] as image, x1, y1, x2, y2.
std::unique_ptr<Kernel> MakeMaxRoiPool(const Node& node) {
  const auto pooled = node.Ints("pooled_shape");
  if (pooled.size() != 2 || pooled[0] < 1 || pooled[1] < 1) {
    throw InputError("MaxRoiPool: pooled_shape must be two positive numbers");
  }
  const float scale = node.Float("spatial_scale", 1.0f);
  return MakeKernel([=](KernelContext& context) { MaxRoiPool(context, pooled, scale); });
}

}  // namespace ptq
