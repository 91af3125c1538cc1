// The order of things at a site: correct, quantize, search a scale, keep the better, find biases.
#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <utility>

#include "activation_range.h"
#include "bias.h"
#include "correction.h"
#include "linear_quantizer.h"
#include "pieces.h"

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// All scales are compared on a few rows of each linear by min-max rounding, the best of them on
/// more rows, and the best of those on the method's own grid. (All rows then confirm the choice.)
constexpr int64_t kScreenRows = 16;
constexpr size_t kScreened = 12;
constexpr int64_t kSearchRows = 64;
constexpr size_t kShortList = 4;
/// What the search's score, which is that of rounding to nearest, must fall to for the method's own
/// rounding to be tried: what it gains shows then.
constexpr double kPromising = 0.9;

/// The rows that stand for a linear in the search, evenly spread.
struct Sample {
  std::vector<float> w;
  MatrixRows rows;
  double energy = 0;
};

/// How the rows of each linear of a site are quantized under one scale. What is made of the Gram
/// matrix is made once for the linears that have the same pieces.
class RowMethods {
 public:
  /// All outlive this.
  RowMethods(const GramView& gram, const std::vector<double>& noise, std::span<const float> s,
             const std::vector<RowPieces>& pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto same = std::find(pieces.begin(), pieces.begin() + std::ptrdiff_t(i), pieces[i]);
      const auto first = size_t(same - pieces.begin());
      if (first == i) methods_.emplace_back(gram, noise, s, pieces[i]);
      of_linear_.push_back(first == i ? &methods_.back() : of_linear_[first]);
    }
  }
  [[nodiscard]] const RowMethod& Of(size_t linear) const { return *of_linear_[linear]; }

 private:
  std::deque<RowMethod> methods_;
  std::vector<const RowMethod*> of_linear_;
};

/// One site on its way through the method.
class SiteQuantizer {
 public:
  SiteQuantizer(const SiteProblem& problem, const Method& method);
  SiteResult Run();

 private:
  [[nodiscard]] LinearTask Task(size_t linear, const MatrixRows& w) const;
  [[nodiscard]] std::vector<Sample> TakeSamples(int64_t rows) const;
  /// By which pieces a sample is quantized to compare scales.
  enum class Effort { kPlain, kOwnGrid };
  [[nodiscard]] std::vector<double> SampleScores(const std::vector<Sample>& samples,
                                                 std::span<const std::span<const float>> scales,
                                                 Effort effort) const;
  [[nodiscard]] std::vector<size_t> ShortList(const std::vector<ScalingCandidate>& candidates,
                                              std::vector<ScalingTrial>& trials) const;
  void RecordTrials(const std::vector<ScalingCandidate>& candidates,
                    const std::vector<Sample>& samples, const std::vector<double>& scores,
                    std::vector<ScalingTrial>& trials) const;
  enum class Trial { kTaken, kDoesNotPay, kHarmsOne };
  Trial TryScale(const ScalingCandidate& candidate, double none_score, SiteResult& result) const;
  void Search(SiteResult& result);
  void MeasureRounding(SiteResult& result) const;
  void SplitLosses(SiteResult& result) const;
  [[nodiscard]] double Score(const std::vector<double>& losses) const;
  /// Whether a scale pays; it cannot where nothing is lost without.
  [[nodiscard]] static bool Pays(double score, double none_score, double part) {
    return score < none_score && score <= part * none_score;
  }

  const SiteProblem& problem_;
  const ScalingEntry& scaling_;
  std::vector<RowPieces> pieces_;  ///< of each linear
  std::vector<RowPieces> search_;  ///< scales are compared on the grid that is written
  const RowPieces plain_;          ///< and, most of them, without
  double accept_scale_ = 1;        ///< of the linears' roundings, the least
  GramView gram_;
  ActivationNoise rounding_;            ///< of the activations
  ActivationNoise noise_;               ///< the same where losses count it
  std::vector<double> unscaled_noise_;  ///< ActivationNoise::LossesFor({}) of that
  std::vector<double> energies_;
};

void ValidateActivations(const ActivationRounding& activations, int64_t k) {
  const bool whole = activations.sample.empty() || int64_t(activations.sample.size()) % k == 0;
  if (!whole || (activations.block > 0 && activations.sample.empty())) {
    throw InternalError("quantize: the tokens are not [rows, K]");
  }
  const bool rounded = activations.levels > 0;
  if (rounded && (activations.lowest.empty() || activations.highest.empty())) {
    throw InternalError("quantize: the range of rounded activations is missing");
  }
  if (activations.finds_levels && !rounded) {
    throw InternalError("quantize: nothing says how many levels are to be found");
  }
}

void Validate(const SiteProblem& problem) {
  if (!problem.gram.empty() && int64_t(problem.gram.size()) != problem.k * problem.k) {
    throw InternalError("quantize: the Gram matrix is not K x K");
  }
  if (!problem.cross.empty() && int64_t(problem.cross.size()) != problem.k * problem.k) {
    throw InternalError("quantize: the cross moment is not K x K");
  }
  if (!problem.sum.empty() && (int64_t(problem.sum.size()) != problem.k || problem.tokens < 1 ||
                               problem.shift_sum.size() != problem.sum.size())) {
    throw InternalError("quantize: the sums are not K");
  }
  ValidateActivations(problem.activations, problem.k);
  for (const std::span<const float> magnitudes :
       {problem.mean_abs, problem.max_abs, problem.activations.lowest,
        problem.activations.highest}) {
    if (!magnitudes.empty() && int64_t(magnitudes.size()) != problem.k) {
      throw InternalError("quantize: the magnitudes are not K");
    }
  }
  for (const LinearProblem& linear : problem.linears) {
    if (linear.w.cols() != problem.k) {
      throw InternalError("quantize: '" + linear.name + "' is not N x K");
    }
    if (linear.spec.bits < 2 || linear.spec.bits > 8 || linear.spec.group_size < 0) {
      throw InternalError("quantize: '" + linear.name + "' has an impossible specification");
    }
  }
}

ActivationNoise NoiseOf(const SiteProblem& problem) {
  const ActivationRounding& rounding = problem.activations;
  if (rounding.block > 0) return {rounding.sample, problem.k, rounding.block, problem.tokens};
  return {rounding.lowest, rounding.highest, problem.tokens, rounding.levels};
}

std::span<const float> UsableGram(const SiteProblem& problem) {
  if (problem.gram.empty() || !IsUsableGram(problem.gram, problem.k)) return {};
  return problem.gram;
}

SiteQuantizer::SiteQuantizer(const SiteProblem& problem, const Method& method)
    : problem_(problem),
      scaling_(FindScaling(method.scaling)),
      plain_{FindGrid("minmax"), FindRounding("nearest")},
      gram_(UsableGram(problem), problem.k,
            problem.tokens > 0 ? std::max(method.shrinkage, ShrinkageFor(problem.k, problem.tokens))
                               : method.shrinkage),
      rounding_(NoiseOf(problem)) {
  std::vector<double> unscaled = rounding_.LossesFor({});
  if (!std::ranges::all_of(unscaled, [](double loss) { return std::isfinite(loss); })) {
    rounding_ = ActivationNoise();
    unscaled.clear();
  }
  if (problem.activations.counts) {
    noise_ = rounding_;
    unscaled_noise_ = std::move(unscaled);
  }
  const auto pieces_of = [](const Method& own) {
    return RowPieces{FindGrid(own.grid), FindRounding(own.rounding), own.refine};
  };
  const RowPieces pieces = pieces_of(method);
  for (const LinearProblem& linear : problem.linears) {
    pieces_.push_back(linear.method != nullptr ? pieces_of(*linear.method) : pieces);
    search_.push_back({pieces_.back().grid, FindRounding("nearest")});
    accept_scale_ = std::min(accept_scale_, pieces_.back().rounding.accept_scale);
  }
}

LinearTask SiteQuantizer::Task(size_t linear, const MatrixRows& w) const {
  const LinearProblem& own = problem_.linears[linear];
  return {own.name, w, own.spec};
}

std::vector<Sample> SiteQuantizer::TakeSamples(int64_t rows) const {
  const int64_t k = problem_.k;
  std::vector<Sample> samples(problem_.linears.size());
  ParallelFor(int64_t(samples.size()), [&](int64_t index) {
    const MatrixRows& w = problem_.linears[size_t(index)].w;
    Sample& sample = samples[size_t(index)];
    const int64_t count = std::min(w.rows(), rows);
    sample.w.resize(size_t(count * k));
    ParallelFor(count, [&](int64_t i) {
      std::vector<float> buffer;
      const int64_t row = (2 * i + 1) * w.rows() / (2 * count);
      std::copy_n(w.Get(row, row + 1, buffer), k, sample.w.begin() + i * k);
    });
    sample.energy = Energy(gram_, sample.w, count);
    sample.rows = MatrixRows(sample.w, k);
  });
  return samples;
}

/// For each scale Σ over the linears of loss / energy: normalised for each, since otherwise a
/// sibling with large weights would decide for all.
std::vector<double> SiteQuantizer::SampleScores(const std::vector<Sample>& samples,
                                                std::span<const std::span<const float>> scales,
                                                Effort effort) const {
  std::vector<double> scores(scales.size(), 0.0);
  for (size_t i = 0; i < samples.size(); ++i) {
    const Sample& sample = samples[i];
    if (!(sample.energy > 0)) continue;
    const RowPieces& pieces = effort == Effort::kPlain ? plain_ : search_[i];
    const auto losses = LossesOf(gram_, noise_, scales, pieces, Task(i, sample.rows));
    for (size_t c = 0; c < scores.size(); ++c) scores[c] += losses[c] / sample.energy;
  }
  return scores;
}

double SiteQuantizer::Score(const std::vector<double>& losses) const {
  double score = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    if (energies_[i] > 0) score += losses[i] / energies_[i];
  }
  return score;
}

/// The scores of all candidates on one sample, and that of no scale.
void SiteQuantizer::RecordTrials(const std::vector<ScalingCandidate>& candidates,
                                 const std::vector<Sample>& samples,
                                 const std::vector<double>& scores,
                                 std::vector<ScalingTrial>& trials) const {
  const auto counted = double(
      std::ranges::count_if(samples, [](const Sample& sample) { return sample.energy > 0; }));
  if (counted == 0) return;
  const std::span<const float> none;
  const double none_score = SampleScores(samples, std::span(&none, 1), Effort::kPlain).front();
  trials = {{"none", 0, none_score / counted}};
  for (size_t i = 0; i < candidates.size(); ++i) {
    trials.push_back({candidates[i].name, candidates[i].alpha, scores[i] / counted});
  }
}

/// The scales worth trying on all rows, best first.
std::vector<size_t> SiteQuantizer::ShortList(const std::vector<ScalingCandidate>& candidates,
                                             std::vector<ScalingTrial>& trials) const {
  const size_t none = candidates.size();
  std::vector<double> scores(candidates.size() + 1);
  const auto score = [&](const std::vector<size_t>& which, const std::vector<Sample>& samples,
                         Effort effort) {
    std::vector<std::span<const float>> scales;
    scales.reserve(which.size());
    for (const size_t c : which) {
      scales.push_back(c == none ? std::span<const float>() : std::span(candidates[c].s));
    }
    const std::vector<double> found = SampleScores(samples, scales, effort);
    for (size_t i = 0; i < which.size(); ++i) scores[which[i]] = found[i];
  };
  const auto keep_best = [&](std::vector<size_t>& order, size_t count) {
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] < scores[b]; });
    order.resize(std::min(order.size(), count));
  };
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const std::vector<Sample> screen = TakeSamples(kScreenRows);
  score(order, screen, Effort::kPlain);
  RecordTrials(candidates, screen, scores, trials);
  keep_best(order, kScreened);
  const std::vector<Sample> samples = TakeSamples(kSearchRows);
  score(order, samples, Effort::kPlain);
  keep_best(order, kShortList);
  order.push_back(none);
  score(order, samples, Effort::kOwnGrid);
  order.pop_back();
  const double promising = std::max(kPromising, accept_scale_);
  std::erase_if(order, [&](size_t c) { return !Pays(scores[c], scores[none], promising); });
  keep_best(order, kShortList);
  return order;
}

/// Quantizes all linears under a scale. Takes it over into `result` (which holds the unscaled
/// outcome) when it pays and leaves no linear worse than round-to-nearest.
SiteQuantizer::Trial SiteQuantizer::TryScale(const ScalingCandidate& candidate, double none_score,
                                             SiteResult& result) const {
  const RowMethods methods(gram_, noise_.LossesFor(candidate.s), candidate.s, pieces_);
  std::vector<LinearQuantization> outcomes;
  std::vector<double> losses;
  for (size_t i = 0; i < problem_.linears.size(); ++i) {
    const LinearProblem& linear = problem_.linears[i];
    outcomes.push_back(QuantizeLinear(methods.Of(i), Task(i, linear.w)));
    losses.push_back(outcomes.back().shrunk_loss);
    if (!(outcomes.back().loss <= result.linears[i].loss_rtn)) return Trial::kHarmsOne;
  }
  if (!Pays(Score(losses), none_score, accept_scale_)) return Trial::kDoesNotPay;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    result.linears[i].q = std::move(outcomes[i].q);
    result.linears[i].loss = outcomes[i].loss;
  }
  result.scale = candidate.s;
  result.scaling = candidate.name;
  result.alpha = candidate.alpha;
  return Trial::kTaken;
}

/// What the rounding of the sample costs with the codes that were found.
void SiteQuantizer::MeasureRounding(SiteResult& result) const {
  const std::vector<float> errors = rounding_.ErrorsFor(result.scale);
  if (errors.empty() || gram_.identity()) return;
  for (LinearResult& linear : result.linears) {
    linear.activation_loss = rounding_.TokensForEach() * ProductLoss(linear.q, errors);
  }
}

/// Where a row keeps the nearest codes in either way, there is nothing to split.
void SiteQuantizer::SplitLosses(SiteResult& result) const {
  const RoundingEntry& nearest = plain_.rounding;
  for (size_t i = 0; i < result.linears.size(); ++i) {
    LinearResult& linear = result.linears[i];
    linear.weight_loss = linear.nearest_loss = linear.loss;
    const bool rounds = &pieces_[i].rounding != &nearest || pieces_[i].refine > 0;
    if (!rounds && (noise_.none() || gram_.identity())) continue;
    const LossSplit split =
        SplitLoss(gram_, result.scale, Task(i, problem_.linears[i].w), linear.q);
    linear.weight_loss = split.codes;
    linear.nearest_loss = split.nearest;
  }
}

SiteResult SiteQuantizer::Run() {
  SiteResult result;
  Search(result);
  MeasureRounding(result);
  SplitLosses(result);
  return result;
}

void SiteQuantizer::Search(SiteResult& result) {
  const RowMethods unscaled(gram_, unscaled_noise_, {}, pieces_);
  std::vector<double> losses;
  for (size_t i = 0; i < problem_.linears.size(); ++i) {
    const LinearProblem& linear = problem_.linears[i];
    LinearQuantization outcome = QuantizeLinear(unscaled.Of(i), Task(i, linear.w));
    losses.push_back(outcome.shrunk_loss);
    energies_.push_back(outcome.energy);
    result.linears.push_back(
        {std::move(outcome.q), {}, outcome.loss, outcome.loss_plain, outcome.energy});
  }
  // Without inputs to weigh the channels by, no scale is better than another.
  if (!problem_.scaling_allowed || gram_.identity()) return;
  const std::vector<ScalingCandidate> candidates = scaling_.make(problem_);
  if (candidates.empty()) return;
  const double none_score = Score(losses);
  for (const size_t candidate : ShortList(candidates, result.trials)) {
    // The best candidate by the search does not pay: neither do those behind it.
    if (TryScale(candidates[candidate], none_score, result) != Trial::kHarmsOne) break;
  }
}

SiteResult QuantizeCorrected(const SiteProblem& problem, const Method& method) {
  if (problem.cross.empty() || UsableGram(problem).empty()) {
    return SiteQuantizer(problem, method).Run();
  }
  SiteProblem corrected = problem;
  std::vector<std::vector<float>> weights;
  std::vector<double> gains;
  {
    const Correction correction(problem.gram, problem.cross, problem.k, problem.tokens);
    const GramView gram(problem.gram, problem.k);
    for (LinearProblem& linear : corrected.linears) {
      weights.push_back(correction.Apply(linear.w));
      gains.push_back(correction.Gain(gram, linear.w, weights.back()));
      linear.w = MatrixRows(weights.back(), problem.k);
    }
  }
  SiteResult result = SiteQuantizer(corrected, method).Run();
  for (size_t i = 0; i < gains.size(); ++i) result.linears[i].propagation_loss = gains[i];
  return result;
}

}  // namespace

SiteResult QuantizeSite(const SiteProblem& problem, const Method& method) {
  Validate(problem);
  SiteResult result = QuantizeCorrected(problem, method);
  if (problem.activations.finds_levels) {
    result.levels = FindLevels(problem, method.activation_range, result);
  }
  if (problem.sum.empty()) return result;
  for (size_t i = 0; i < result.linears.size(); ++i) {
    result.linears[i].bias =
        BiasFor(problem, problem.linears[i].w, result.linears[i].q, result.scale);
  }
  return result;
}

}  // namespace ptq
