// Differences of scores, and their ranks.
#include "ptq/evaluate/scores.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/evaluate/rank_correlation.h"

namespace ptq {
namespace {

/// Both models' output for one text: rows [R, C], of which there is one for a text or a token.
struct Outputs {
  Tensor own;
  Tensor other;  ///< undefined without a reference
  [[nodiscard]] int64_t width() const { return own.dim(-1); }
};

Tensor RunFinite(const ModelRunner& model, const TokenizedText& given, size_t text) {
  Tensor output = model.Run(given);
  if (std::ranges::all_of(output.data<float>(), [](float x) { return std::isfinite(x); })) {
    return output;
  }
  throw InputError("'" + model.graph().model().path().string() + "': output '" + model.output() +
                   "' of text " + std::to_string(text + 1) + " is not finite");
}

/// Sums in double, in the order of the texts.
class Comparison {
 public:
  void Add(const Outputs& outputs) {
    const int64_t width = outputs.width();
    width_ = rows_ == 0 || width_ == width ? width : 0;
    const std::span<const float> own = outputs.own.data<float>();
    rows_ += int64_t(own.size()) / std::max<int64_t>(1, width);
    if (width == 1) own_.insert(own_.end(), own.begin(), own.end());
    if (!outputs.other.defined()) return;
    const std::span<const float> other = outputs.other.data<float>();
    if (width == 1) other_.insert(other_.end(), other.begin(), other.end());
    for (size_t i = 0; i < own.size(); ++i) AddDifference(double{own[i]}, double{other[i]});
    for (size_t i = 0; i < own.size(); i += size_t(width)) {
      const auto a = own.subspan(i, size_t(width));
      const auto b = other.subspan(i, size_t(width));
      const auto top_a = std::ranges::max_element(a) - a.begin();
      const auto top_b = std::ranges::max_element(b) - b.begin();
      same_top_ += top_a == top_b ? 1 : 0;
    }
  }

  [[nodiscard]] ScoreComparison Result(std::span<const double> gold) const {
    ScoreComparison result;
    result.width = width_;
    if (!gold.empty() && (width_ != 1 || own_.size() != gold.size())) {
      throw InputError(
          "gold scores are compared with one number for each text, and the model gives " +
          std::to_string(width_ == 1 ? rows_ : width_) + "; --output may name another");
    }
    result.has_gold = !gold.empty();
    if (!gold.empty()) result.spearman = Spearman(own_, gold);
    if (count_ == 0) return result;
    if (!gold.empty()) result.reference_spearman = Spearman(other_, gold);
    const double n = double(count_);
    result.difference_mean = sum_ / n;
    result.difference_largest = largest_;
    result.reference_spread = std::sqrt(std::max(0.0, squares_ / n));
    if (width_ == 1) result.rank_correlation = Spearman(own_, other_);
    if (width_ != 1) result.top1_agreement = double(same_top_) / double(rows_);
    return result;
  }

 private:
  /// Welford's update of the reference's variance: its scores may be far from zero.
  void AddDifference(double own, double other) {
    ++count_;
    sum_ += std::abs(own - other);
    largest_ = std::max(largest_, std::abs(own - other));
    const double step = other - mean_;
    mean_ += step / double(count_);
    squares_ += step * (other - mean_);
  }

  int64_t width_ = 0;
  int64_t rows_ = 0;
  int64_t count_ = 0;
  int64_t same_top_ = 0;
  double sum_ = 0, largest_ = 0, mean_ = 0, squares_ = 0;
  std::vector<double> own_, other_;  ///< of models of width 1
};

}  // namespace

ScoreComparison CompareScores(const ModelRunner& model, const ModelRunner* reference,
                              const std::vector<TokenizedText>& texts,
                              std::span<const double> gold) {
  Comparison comparison;
  Progress progress("evaluating", static_cast<int64_t>(texts.size()));
  for (size_t begin = 0; begin < texts.size(); begin += size_t(kTextsAtOnce)) {
    const size_t count = std::min(size_t(kTextsAtOnce), texts.size() - begin);
    std::vector<Outputs> outputs(count);
    ParallelFor(int64_t(count), [&](int64_t i) {
      const size_t text = begin + size_t(i);
      Outputs& found = outputs[size_t(i)];
      found.own = RunFinite(model, texts[text], text);
      if (reference == nullptr) return;
      found.other = RunFinite(*reference, texts[text], text);
      if (found.own.shape() == found.other.shape()) return;
      throw InputError("the outputs of the two models have different sizes: " +
                       ToString(found.own.shape()) + " and " + ToString(found.other.shape()));
    });
    for (const Outputs& found : outputs) comparison.Add(found);
    progress.Advance(int64_t(count));
  }
  return comparison.Result(gold);
}

}  // namespace ptq
