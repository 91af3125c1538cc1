// Differences of scores, their ranks, and how they agree with what is known.
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

/// Both models' rows of all texts, as far as truths need them.
class Truths {
 public:
  explicit Truths(const ScoreTruth& truth) : truth_(truth) {}

  void Add(const Outputs& outputs) {
    AddTo(own_, outputs.own);
    if (outputs.other.defined()) AddTo(other_, outputs.other);
  }

  void Compare(int64_t width, ScoreComparison& result) const {
    result.has_gold = !truth_.gold.empty() && width == 1;
    if (!truth_.gold.empty() && truth_.labels.empty() && width != 1) Refuse("gold scores", width);
    if (!truth_.labels.empty() && truth_.gold.empty() && width == 1) Refuse("labels", width);
    if (result.has_gold) {
      if (own_.relevance.size() != truth_.gold.size()) Refuse("gold scores", width);
      result.spearman = Spearman(own_.relevance, truth_.gold);
      if (!other_.top.empty()) result.reference_spearman = Spearman(other_.relevance, truth_.gold);
    }
    if (!truth_.labels.empty() && width != 1) {
      result.accuracy = Accuracy(own_, width);
      if (!other_.top.empty()) result.reference_accuracy = Accuracy(other_, width);
    }
    if (truth_.retrieval.has_value()) result.retrieval = Retrieval(width);
  }

 private:
  struct Rows {
    std::vector<int64_t> top;       ///< largest class of each row
    std::vector<double> relevance;  ///< the only score, or the last less the first
  };

  void AddTo(Rows& rows, const Tensor& output) const {
    if (truth_.gold.empty() && truth_.labels.empty() && !truth_.retrieval.has_value()) return;
    const auto width = size_t(output.dim(-1));
    const std::span<const float> values = output.data<float>();
    for (size_t i = 0; i < values.size(); i += width) {
      const auto row = values.subspan(i, width);
      rows.top.push_back(std::ranges::max_element(row) - row.begin());
      rows.relevance.push_back(width == 1 ? double{row[0]} : double{row.back()} - double{row[0]});
    }
  }

  [[noreturn]] static void Refuse(const std::string& what, int64_t width) {
    throw InputError(what +
                     (what == "labels" ? " are compared with several numbers for each text"
                                       : " are compared with one number for each text") +
                     ", and the model gives " + std::to_string(width) +
                     "; --output may name another");
  }

  [[nodiscard]] double Accuracy(const Rows& rows, int64_t width) const {
    if (rows.top.size() != truth_.labels.size()) {
      throw InputError("labels are of texts, and the model gives classes of tokens");
    }
    double right = 0;
    for (size_t i = 0; i < rows.top.size(); ++i) {
      const int64_t label = truth_.labels[i];
      if (label >= width) {
        throw InputError("label " + std::to_string(label) + " of text " + std::to_string(i + 1) +
                         " is none of the model's " + std::to_string(width) + " classes");
      }
      right += rows.top[i] == label ? 1 : 0;
    }
    return right / double(rows.top.size());
  }

  [[nodiscard]] RetrievalScore Retrieval(int64_t width) const {
    const RetrievalSet& set = *truth_.retrieval;
    if (width < 1 || width > 2 || own_.relevance.empty()) {
      throw InputError(
          "documents are ranked by one number for a text, or two, and the model gives " +
          std::to_string(width));
    }
    std::vector<size_t> begin;
    size_t count = 0;
    for (const auto& candidates : set.candidates) {
      begin.push_back(count);
      count += candidates.size();
    }
    const auto by = [&](const Rows& rows) {
      return [&](int64_t query, int64_t document) {
        const auto& candidates = set.candidates[size_t(query)];
        const auto place = std::ranges::find(candidates, document) - candidates.begin();
        return rows.relevance[begin[size_t(query)] + size_t(place)];
      };
    };
    const Relevance other = by(other_);
    return ScoreRetrieval(set, by(own_), other_.top.empty() ? nullptr : &other);
  }

  const ScoreTruth& truth_;
  Rows own_, other_;
};

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

  [[nodiscard]] ScoreComparison Result() const {
    ScoreComparison result;
    result.width = width_;
    if (count_ == 0) return result;
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
                              const std::vector<TokenizedText>& texts, const ScoreTruth& truth) {
  Comparison comparison;
  Truths truths(truth);
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
    for (const Outputs& found : outputs) {
      comparison.Add(found);
      truths.Add(found);
    }
    progress.Advance(int64_t(count));
  }
  ScoreComparison result = comparison.Result();
  truths.Compare(result.width, result);
  return result;
}

}  // namespace ptq
