// Boxes that no better box of their class overlaps: ai.onnx NonMaxSuppression.
#include <algorithm>
#include <limits>
#include <vector>

#include "arguments.h"
#include "array.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct Box {
  float y1, x1, y2, x2;  ///< y1 <= y2, x1 <= x2
  [[nodiscard]] float Area() const { return (y2 - y1) * (x2 - x1); }
};

/// Corners in any order, or with `centered` the center and the size, x before y.
Box ReadBox(const float* at, bool centered) {
  if (centered) {
    return {at[1] - at[3] / 2, at[0] - at[2] / 2, at[1] + at[3] / 2, at[0] + at[2] / 2};
  }
  return {std::min(at[0], at[2]), std::min(at[1], at[3]), std::max(at[0], at[2]),
          std::max(at[1], at[3])};
}

/// Whether the intersection is more than this share of the union.
bool Overlap(const Box& a, const Box& b, float threshold) {
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (height <= 0 || width <= 0 || a.Area() <= 0 || b.Area() <= 0) return false;
  const float both = height * width;
  return both / (a.Area() + b.Area() - both) > threshold;
}

struct BoxLimits {
  int64_t most;  ///< boxes of each class
  float overlap;
  float score;
};

/// The boxes of one class that stay, best first; of equal scores the first.
Shape Select(const std::vector<Box>& boxes, const float* scores, const BoxLimits& limits) {
  Shape order;
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (scores[i] > limits.score) order.push_back(static_cast<int64_t>(i));
  }
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  Shape kept;
  for (const int64_t candidate : order) {
    if (static_cast<int64_t>(kept.size()) >= limits.most) break;
    const bool covered = std::ranges::any_of(kept, [&](int64_t other) {
      return Overlap(boxes[static_cast<size_t>(candidate)], boxes[static_cast<size_t>(other)],
                     limits.overlap);
    });
    if (!covered) kept.push_back(candidate);
  }
  return kept;
}

void Suppress(KernelContext& context, bool centered) {
  const Tensor& boxes = context.input(0);
  const Tensor& scores = context.input(1);
  if (boxes.rank() != 3 || boxes.dim(2) != 4 || scores.rank() != 3 ||
      scores.dim(0) != boxes.dim(0) || scores.dim(2) != boxes.dim(1)) {
    throw InputError("NonMaxSuppression: boxes of shape " + ToString(boxes.shape()) +
                     " and scores of shape " + ToString(scores.shape()));
  }
  const auto number = [&](size_t i, float fallback) {
    return context.has_input(i) ? ScalarInputOf<float>(context, i) : fallback;
  };
  const BoxLimits limits{context.has_input(2) ? ScalarInput(context, 2) : 0, number(3, 0.0f),
                         number(4, -std::numeric_limits<float>::infinity())};
  const int64_t classes = scores.dim(1), count = boxes.dim(1);
  Shape found;
  for (int64_t batch = 0; batch < boxes.dim(0); ++batch) {
    std::vector<Box> all;
    for (int64_t i = 0; i < count; ++i) {
      all.push_back(ReadBox(boxes.data<float>().data() + 4 * (batch * count + i), centered));
    }
    for (int64_t c = 0; c < classes; ++c) {
      const float* of_class = scores.data<float>().data() + (batch * classes + c) * count;
      for (const int64_t box : Select(all, of_class, limits)) {
        found.insert(found.end(), {batch, c, box});
      }
    }
  }
  const auto rows = static_cast<int64_t>(found.size()) / 3;
  context.set_output(0, Tensor::From<int64_t>({rows, 3}, std::span<const int64_t>(found)));
}

}  // namespace

/// ai.onnx NonMaxSuppression: boxes [B, N, 4], scores [B, C, N], most boxes of a class?, overlap?,
/// least score? -> [M, 3] of batch, class and box.
std::unique_ptr<Kernel> MakeNonMaxSuppression(const Node& node) {
  const bool centered = node.Int("center_point_box", 0) != 0;
  return MakeKernel([centered](KernelContext& context) { Suppress(context, centered); });
}

}  // namespace ptq
