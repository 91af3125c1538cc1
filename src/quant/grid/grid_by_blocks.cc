// Tries one candidate after the other on a group in all rows, and fits scales by least squares.
#include "grid_by_blocks.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ptq/base/interrupt.h"

namespace ptq {
namespace {

/// Times that scale and codes follow each other.
constexpr int kScaleFits = 2;

/// One group of channels in all rows of a block.
class GroupFitter {
 public:
  GroupFitter(const GramView& gram, const RowBlock& block, int64_t g)
      : gram_(gram),
        block_(block),
        begin_(g * block.spec.GroupSizeFor(block.k)),
        count_(std::min(block.spec.GroupSizeFor(block.k), block.k - begin_)),
        ranges_(size_t(block.rows)),
        grids_(size_t(block.rows)),
        best_(size_t(block.rows)),
        losses_(size_t(block.rows)),
        trial_(size_t(block.rows)),
        levels_(size_t(block.rows * count_)),
        delta_(levels_.size()) {
    for (int64_t r = 0; r < block.rows; ++r) ranges_[size_t(r)] = RangeOf(Row(r), count_);
  }

  void Choose(int count, const std::function<GroupGrid(const GroupRange&, int)>& candidate) {
    for (int index = 0; index < count; ++index) {
      for (size_t r = 0; r < trial_.size(); ++r) trial_[r] = candidate(ranges_[r], index);
      Try(index == 0);
    }
  }

  /// For levels u, the scale that costs least is u H wᵀ / u H uᵀ.
  void FitScales() {
    std::vector<float> product(levels_.size());
    for (int fit = 0; fit < kScaleFits; ++fit) {
      for (int64_t r = 0; r < block_.rows; ++r) {
        RoundToLevels(Row(r), count_, grids_[size_t(r)], block_.spec, levels_.data() + r * count_);
      }
      gram_.BlockGradient(levels_.data(), block_.rows, begin_, count_, product.data());
      for (int64_t r = 0; r < block_.rows; ++r) trial_[size_t(r)] = Fitted(r, product);
      Try(false);
    }
  }

  void Store(int64_t g) const {
    const int64_t groups = block_.spec.GroupsFor(block_.k);
    for (int64_t r = 0; r < block_.rows; ++r) {
      block_.scales[r * groups + g] = grids_[size_t(r)].scale;
      block_.zero_points[r * groups + g] = grids_[size_t(r)].zero_point;
    }
  }

 private:
  [[nodiscard]] const float* Row(int64_t r) const { return block_.w + r * block_.k + begin_; }

  [[nodiscard]] GroupGrid Fitted(int64_t r, const std::vector<float>& product) const {
    GroupGrid grid = grids_[size_t(r)];
    const float* y = product.data() + r * count_;
    const float* u = levels_.data() + r * count_;
    const float* w = Row(r);
    double along = 0, length = 0;
    for (int64_t j = 0; j < count_; ++j) {
      along += double(y[j]) * double(w[j]);
      length += double(y[j]) * double(u[j]);
    }
    const double scale = along / length;
    if (std::isfinite(scale) && scale != 0) {
      grid.scale = StorableScale(scale, block_.spec.scale_type);
    }
    return grid;
  }

  /// Takes over the trial grids that cost less.
  void Try(bool first) {
    for (int64_t r = 0; r < block_.rows; ++r) {
      float* delta = delta_.data() + r * count_;
      const float* w = Row(r);
      RoundToLevels(w, count_, trial_[size_t(r)], block_.spec, delta);
      const float scale = trial_[size_t(r)].scale;
      for (int64_t j = 0; j < count_; ++j) delta[j] = delta[j] * scale - w[j];
    }
    gram_.RowLosses(delta_.data(), block_.rows, begin_, count_, losses_.data());
    for (size_t r = 0; r < trial_.size(); ++r) {
      if (!first && !(losses_[r] < best_[r])) continue;
      best_[r] = losses_[r];
      grids_[r] = trial_[r];
    }
  }

  const GramView& gram_;
  const RowBlock& block_;
  int64_t begin_;
  int64_t count_;
  std::vector<GroupRange> ranges_;
  std::vector<GroupGrid> grids_;  ///< the best so far, and what they cost
  std::vector<double> best_;
  std::vector<double> losses_;
  std::vector<GroupGrid> trial_;
  std::vector<float> levels_;
  std::vector<float> delta_;
};

}  // namespace

void FitByBlocks(const GramView& gram, const RowBlock& block, int count,
                 const std::function<GroupGrid(const GroupRange&, int)>& candidate,
                 bool fit_scale) {
  for (int64_t g = 0; g < block.spec.GroupsFor(block.k); ++g) {
    CheckInterrupt();
    GroupFitter fitter(gram, block, g);
    fitter.Choose(count, candidate);
    if (fit_scale) fitter.FitScales();
    fitter.Store(g);
  }
}

}  // namespace ptq
