// The rounding "adaround": learns for each weight which of its two neighbours to take.
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "pieces.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Steps, each of them a product with H. With 200 the loss is 5 % higher, with 600 about the same.
constexpr int kSteps = 300;
/// λ at the first and the last step; it grows by the same factor in each. A code alone loses its
/// minimum in between where its λ is 1/4.
constexpr double kFirstPull = 0.03;
constexpr double kLastPull = 3.0;
/// Adam's (Kingma & Ba 2015, arXiv 1412.6980).
constexpr double kRate = 0.1;
constexpr float kMeanDecay = 0.9f;
constexpr float kSquareDecay = 0.95f;
constexpr float kEpsilon = 1e-8f;
/// The sigmoid is stretched to [γ, ζ] and cut to [0, 1], so that it reaches both.
constexpr float kGamma = -0.1f;
constexpr float kZeta = 1.1f;
/// Weights that are learned at once, and the least rows for which a product with H pays.
constexpr int64_t kWeightsHeld = int64_t{1} << 20;
constexpr int64_t kLeastGradientRows = 64;

/// 1 / (1 + exp(−x)), in plain operations that can be vectorised. 2^f is its Taylor polynomial.
inline float Sigmoid(float x) {
  constexpr float kRound = 12582912.0f;  // adding it leaves no bits for a fraction
  constexpr float kLargest = 80.0f;
  const float exponent = std::min(std::max(x * -1.44269504f, -kLargest), kLargest);
  const float n = (exponent + kRound) - kRound;
  const float f = (exponent - n) * 0.693147181f;
  float p = 1.0f / 720;
  p = p * f + 1.0f / 120;
  p = p * f + 1.0f / 24;
  p = p * f + 1.0f / 6;
  p = p * f + 0.5f;
  p = p * f + 1.0f;
  p = p * f + 1.0f;
  return 1.0f / (1.0f + p * std::bit_cast<float>((int(n) + 127) << 23));
}

inline float Stretched(float sigmoid) { return sigmoid * (kZeta - kGamma) + kGamma; }

inline float Cut(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

/// What a step needs to know of its number.
struct Step {
  float pull;         ///< 4 λ
  float rate;         ///< Adam's, with the correction of its means
  float square_unit;  ///< correction of its squares
};

Step StepAt(int i) {
  const double lambda = kFirstPull * std::pow(kLastPull / kFirstPull, double(i) / (kSteps - 1));
  return {float(4 * lambda), float(kRate / (1 - std::pow(double(kMeanDecay), i + 1))),
          float(1 / (1 - std::pow(double(kSquareDecay), i + 1)))};
}

/// Two neighbouring levels, in units of the scale.
struct Interval {
  uint8_t code;  ///< of the lower one
  float level;
  float step;  ///< to the upper one
};

Interval IntervalAround(float wanted, uint8_t zero_point, const QuantSpec& spec) {
  if (spec.uniform()) {
    const float lowest = -float(zero_point);
    const float highest = float(spec.levels() - 1) + lowest;
    const float level = std::clamp(std::floor(wanted), lowest, highest - 1);
    return {uint8_t(int(level - lowest)), level, 1.0f};
  }
  const Levels& levels = *spec.codebook;
  const int code = std::min<int>(levels.Below(wanted), levels.count() - 2);
  return {uint8_t(code), levels.value(code), levels.value(code + 1) - levels.value(code)};
}

/// Some weights of one row that share a scale. All numbers are in units of the row's largest scale
/// and of what a code costs on average.
struct Weights {
  int64_t count;
  float unit;             ///< the scale
  const float* steps;     ///< from the lower to the upper level; null: all of them the unit
  const float* lower;     ///< the error of the lower code
  const float* own_pull;  ///< (H_jj unit²)^1.5
  float* v;               ///< what is learned
  float* sigmoid;         ///< of it
  float* mean;            ///< of gradients
  float* square;          ///< of gradients, its mean
  float* error;           ///< of lower code + h
};

PTQ_VECTOR_CLONES void Evaluate(const Weights& w) {
  for (int64_t j = 0; j < w.count; ++j) {
    w.sigmoid[j] = Sigmoid(w.v[j]);
    w.error[j] = w.lower[j] + Cut(Stretched(w.sigmoid[j])) * w.unit;
  }
}

/// The same between levels that are not evenly spaced.
PTQ_VECTOR_CLONES void EvaluateLevels(const Weights& w) {
  for (int64_t j = 0; j < w.count; ++j) {
    w.sigmoid[j] = Sigmoid(w.v[j]);
    w.error[j] = w.lower[j] + Cut(Stretched(w.sigmoid[j])) * w.steps[j];
  }
}

/// From the gradient in errors to that in h, but for a common factor.
PTQ_VECTOR_CLONES void MultiplyBySteps(const Weights& w, float* gradient) {
  for (int64_t j = 0; j < w.count; ++j) gradient[j] *= w.steps[j];
}

/// From half the gradient of a row's loss to that of the whole objective in v. (A loop apart from
/// the next, since the compiler compares only so many pointers before it vectorises.)
PTQ_VECTOR_CLONES void PassOn(const Weights& w, float pull, float weight, float* gradient) {
  for (int64_t j = 0; j < w.count; ++j) {
    const float sigmoid = w.sigmoid[j];
    const float h = Stretched(sigmoid);
    const float in_h = gradient[j] * weight - pull * w.own_pull[j] * (2.0f * h - 1.0f);
    const float open = Cut(h) == h ? kZeta - kGamma : 0.0f;
    gradient[j] = in_h * open * sigmoid * (1.0f - sigmoid);
  }
}

PTQ_VECTOR_CLONES void StepOfAdam(const Weights& w, const Step& step, const float* gradient) {
  for (int64_t j = 0; j < w.count; ++j) {
    w.mean[j] += (1.0f - kMeanDecay) * (gradient[j] - w.mean[j]);
    w.square[j] += (1.0f - kSquareDecay) * (gradient[j] * gradient[j] - w.square[j]);
    w.v[j] -= step.rate * w.mean[j] / (std::sqrt(w.square[j] * step.square_unit) + kEpsilon);
  }
}

/// Rows whose codes are learned together.
class LearnedRows {
 public:
  LearnedRows(const GramView& gram, const RowBlock& block)
      : gram_(gram),
        block_(block),
        group_(block.spec.GroupSizeFor(block.k)),
        groups_(block.spec.GroupsFor(block.k)),
        units_(size_t(block.rows * groups_)),
        weights_(size_t(block.rows)),
        lower_(size_t(block.rows * block.k)),
        own_pull_(lower_.size()),
        v_(lower_.size()),
        sigmoid_(lower_.size()),
        mean_(lower_.size()),
        square_(lower_.size()),
        error_(lower_.size()),
        steps_(block.spec.uniform() ? 0 : lower_.size()) {
    for (int64_t r = 0; r < block.rows; ++r) {
      PutBetweenCodes(r);
      Weigh(r);
    }
  }

  void Learn() {
    std::vector<float> gradient(error_.size());
    for (int i = 0; i < kSteps; ++i) {
      CheckInterrupt();
      ForEachGroup([](int64_t, int64_t, const Weights& w) {
        w.steps == nullptr ? Evaluate(w) : EvaluateLevels(w);
      });
      gram_.Gradient(error_.data(), block_.rows, 0, block_.k, gradient.data());
      ForEachGroup([&, step = StepAt(i)](int64_t r, int64_t at, const Weights& w) {
        const bool uniform = w.steps == nullptr;
        if (!uniform) MultiplyBySteps(w, gradient.data() + at);
        PassOn(w, step.pull, weights_[size_t(r)] * (uniform ? w.unit : 1.0f), gradient.data() + at);
        StepOfAdam(w, step, gradient.data() + at);
      });
    }
    for (size_t i = 0; i < v_.size(); ++i) block_.codes[i] += v_[i] > 0 ? 1 : 0;
  }

 private:
  /// Lower codes, and h such that it gives the weights as they are, where the range allows.
  void PutBetweenCodes(int64_t r) {
    const float* scales = block_.scales + r * groups_;
    float largest = 0;
    for (int64_t g = 0; g < groups_; ++g) largest = std::max(largest, std::abs(scales[g]));
    for (int64_t j = 0; j < block_.k; ++j) {
      const int64_t g = j / group_;
      const int64_t i = r * block_.k + j;
      const float wanted = block_.w[i] / scales[g];
      const Interval around =
          IntervalAround(wanted, block_.zero_points[r * groups_ + g], block_.spec);
      const float p = (Cut((wanted - around.level) / around.step) - kGamma) / (kZeta - kGamma);
      const float unit = scales[g] / largest;
      block_.codes[i] = around.code;
      units_[size_t(r * groups_ + g)] = unit;
      if (!steps_.empty()) steps_[size_t(i)] = around.step * unit;
      lower_[size_t(i)] = around.level * unit - block_.w[i] / largest;
      v_[size_t(i)] = std::log(p / (1 - p));
    }
  }

  /// What the errors of a row cost, normalised so that one rate of learning serves all.
  void Weigh(int64_t r) {
    std::vector<double> costs(static_cast<size_t>(block_.k));
    double mean = 0;
    for (int64_t j = 0; j < block_.k; ++j) {
      const auto unit = double(steps_.empty() ? units_[size_t(r * groups_ + j / group_)]
                                              : steps_[size_t(r * block_.k + j)]);
      costs[size_t(j)] = double(gram_.diagonal(j)) * unit * unit;
      mean += costs[size_t(j)] / double(block_.k);
    }
    if (!(mean > 0)) return;
    weights_[size_t(r)] = float(2 / mean);
    for (int64_t j = 0; j < block_.k; ++j) {
      own_pull_[size_t(r * block_.k + j)] = float(std::pow(costs[size_t(j)] / mean, 1.5));
    }
  }

  /// Calls f(row, index of the first weight, weights).
  template <typename F>
  void ForEachGroup(const F& f) {
    for (int64_t g = 0; g < block_.rows * groups_; ++g) {
      const int64_t begin = g % groups_ * group_;
      const int64_t at = g / groups_ * block_.k + begin;
      f(g / groups_, at,
        Weights{std::min(group_, block_.k - begin), units_[size_t(g)],
                steps_.empty() ? nullptr : steps_.data() + at, lower_.data() + at,
                own_pull_.data() + at, v_.data() + at, sigmoid_.data() + at, mean_.data() + at,
                square_.data() + at, error_.data() + at});
    }
  }

  const GramView& gram_;
  const RowBlock& block_;
  int64_t group_;
  int64_t groups_;
  std::vector<float> units_;    ///< scales as parts of the row's largest, [rows, groups]
  std::vector<float> weights_;  ///< from half a gradient to that of the normalised loss
  std::vector<float> lower_, own_pull_, v_, sigmoid_, mean_, square_, error_;  ///< [rows, K]
  std::vector<float> steps_;  ///< [rows, K] between the levels of a codebook; empty: uniform
};

}  // namespace

/// AdaRound (Nagel et al. 2020, arXiv 2004.10568): codes ⌊w/s⌋ + h(V), h a rectified sigmoid (eq.
/// 23), learned by Adam on the loss of each row and on what pulls h to 0 or 1, Σ λ_j (1 − |2h −
/// 1|^β) (eq. 24). Starts at the weights themselves and ends with h rounded.
///
/// Two things differ from the paper, which anneals β from 20 to 2 at one λ for all. β stays 2 and λ
/// grows, so that the problem slowly turns from a convex into a concave one. And λ_j is (H_jj
/// s²)^1.5: loud channels become whole first and quiet ones make up for them, as in GPTQ's order.
/// On two layers of correlated inputs the loss was .13 and .16 of round-to-nearest's; with λ_j of
/// H_jj s² .16 and .19; with the paper's β besides .22 and .26, and with one λ .25 and .31. (GPTQ
/// .15 and .20, coordinate descent .14 and .18.) Where H is all but singular, since nothing shrinks
/// it, the steps are too few and GPTQ is better.
///
/// Costs 300 products of the weights with H, some thirty times what coordinate descent does.
Rounding MakeAdaroundRounding(const GramView& gram) {
  if (gram.identity()) return MakeNearestRounding(gram);
  return [&gram](const RowBlock& block) {
    const int64_t rows = std::max(kLeastGradientRows, kWeightsHeld / block.k);
    for (int64_t begin = 0; begin < block.rows; begin += rows) {
      const RowBlock part = block.Rows(begin, std::min(rows, block.rows - begin));
      LearnedRows(gram, part).Learn();
    }
  };
}

}  // namespace ptq
