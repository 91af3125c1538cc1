#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "linear_quantizer.h"
#include "pieces.h"

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Rows of each linear that choose among the scales (all rows then confirm the choice).
constexpr int64_t kSearchRows = 64;
/// Scales, best first by min-max rounding, that are scored again on the method's own grid.
constexpr size_t kShortList = 4;
/// A scale is kept only if it lowers the score of "none" to at most this fraction.
constexpr double kAcceptFraction = 0.98;

/// The rows that stand for a linear in the search, evenly spread.
struct Sample {
  std::vector<float> w;
  int64_t rows = 0;
  double energy = 0;
};

/// One site on its way through the method.
class SiteQuantizer {
 public:
  SiteQuantizer(const SiteProblem& problem, const Method& method);
  SiteResult Run();

 private:
  LinearTask Task(size_t linear, std::span<const float> w, int64_t n, bool plain) const;
  void TakeSamples();
  double SampleScore(std::span<const float> s, bool plain) const;
  std::vector<size_t> ShortList(const std::vector<ScalingCandidate>& candidates) const;
  bool TryScale(const ScalingCandidate& candidate, double none_score, SiteResult& result) const;
  double Score(const std::vector<double>& losses) const;

  const SiteProblem& problem_;
  const ScalingEntry& scaling_;
  const GridEntry& grid_;
  const RoundingEntry& rounding_;
  const GridEntry& plain_grid_;
  const RoundingEntry& plain_rounding_;
  GramView gram_;
  std::vector<double> energies_;
  std::vector<Sample> samples_;
};

void Validate(const SiteProblem& problem) {
  if (!problem.gram.empty() && int64_t(problem.gram.size()) != problem.k * problem.k) {
    throw InternalError("quantize: the Gram matrix is not K x K");
  }
  if (!problem.mean_abs.empty() && int64_t(problem.mean_abs.size()) != problem.k) {
    throw InternalError("quantize: the mean magnitudes are not K");
  }
  for (const LinearProblem& linear : problem.linears) {
    if (int64_t(linear.w.size()) != linear.n * problem.k) {
      throw InternalError("quantize: '" + linear.name + "' is not N x K");
    }
    if (linear.spec.bits < 2 || linear.spec.bits > 8 || linear.spec.group_size < 0) {
      throw InternalError("quantize: '" + linear.name + "' has an impossible specification");
    }
    if (!std::ranges::all_of(linear.w, [](float value) { return std::isfinite(value); })) {
      throw InputError("weight '" + linear.name +
                       "' holds a NaN or an infinite value; repair the model or exclude it");
    }
  }
}

std::span<const float> UsableGram(const SiteProblem& problem) {
  if (problem.gram.empty() || !IsUsableGram(problem.gram, problem.k)) return {};
  return problem.gram;
}

SiteQuantizer::SiteQuantizer(const SiteProblem& problem, const Method& method)
    : problem_(problem),
      scaling_(FindScaling(method.scaling)),
      grid_(FindGrid(method.grid)),
      rounding_(FindRounding(method.rounding)),
      plain_grid_(FindGrid("minmax")),
      plain_rounding_(FindRounding("nearest")),
      gram_(UsableGram(problem), problem.k) {
  for (const LinearProblem& linear : problem.linears) {
    energies_.push_back(Energy(gram_, linear.w, linear.n));
  }
}

LinearTask SiteQuantizer::Task(size_t linear, std::span<const float> w, int64_t n,
                               bool plain) const {
  const LinearProblem& own = problem_.linears[linear];
  const bool clips = grid_.name == "clip";
  const GridEntry& grid = plain || (clips && !own.clip) ? plain_grid_ : grid_;
  return {w, n, problem_.k, own.spec, grid, plain ? plain_rounding_ : rounding_};
}

void SiteQuantizer::TakeSamples() {
  const int64_t k = problem_.k;
  for (const LinearProblem& linear : problem_.linears) {
    Sample sample;
    sample.rows = std::min(linear.n, kSearchRows);
    sample.w.resize(size_t(sample.rows * k));
    for (int64_t i = 0; i < sample.rows; ++i) {
      const int64_t row = (2 * i + 1) * linear.n / (2 * sample.rows);
      std::copy_n(linear.w.begin() + row * k, k, sample.w.begin() + i * k);
    }
    sample.energy = Energy(gram_, sample.w, sample.rows);
    samples_.push_back(std::move(sample));
  }
}

/// Σ over the linears of loss / energy: normalised for each, since otherwise a sibling with large
/// weights would decide for all.
double SiteQuantizer::SampleScore(std::span<const float> s, bool plain) const {
  const SiteView site{gram_, s};
  double score = 0;
  for (size_t i = 0; i < samples_.size(); ++i) {
    const Sample& sample = samples_[i];
    const double loss = QuantizeLinear(site, Task(i, sample.w, sample.rows, plain), false).loss;
    if (sample.energy > 0) score += loss / sample.energy;
  }
  return score;
}

double SiteQuantizer::Score(const std::vector<double>& losses) const {
  double score = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    if (energies_[i] > 0) score += losses[i] / energies_[i];
  }
  return score;
}

/// The scales worth trying on all rows, best first.
std::vector<size_t> SiteQuantizer::ShortList(
    const std::vector<ScalingCandidate>& candidates) const {
  // One more than the candidates: the last is "none".
  std::vector<double> scores(candidates.size() + 1);
  const auto s_of = [&](size_t i) {
    return i < candidates.size() ? std::span<const float>(candidates[i].s)
                                 : std::span<const float>();
  };
  ParallelFor(int64_t(scores.size()),
              [&](int64_t i) { scores[size_t(i)] = SampleScore(s_of(size_t(i)), /*plain=*/true); });
  std::vector<size_t> order;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (scores[i] < scores.back()) order.push_back(i);
  }
  const auto better = [&](size_t a, size_t b) { return scores[a] < scores[b]; };
  std::ranges::stable_sort(order, better);
  if (order.size() > kShortList) order.resize(kShortList);
  ParallelFor(int64_t(order.size()), [&](int64_t i) {
    const size_t candidate = order[size_t(i)];
    scores[candidate] = SampleScore(s_of(candidate), /*plain=*/false);
  });
  std::ranges::stable_sort(order, better);
  return order;
}

/// Quantizes all linears under a scale. Takes it over into `result` (which holds the unscaled
/// outcome) when it pays and leaves no linear worse than round-to-nearest.
bool SiteQuantizer::TryScale(const ScalingCandidate& candidate, double none_score,
                             SiteResult& result) const {
  const SiteView site{gram_, candidate.s};
  std::vector<LinearOutcome> outcomes;
  std::vector<double> losses;
  for (size_t i = 0; i < problem_.linears.size(); ++i) {
    const LinearProblem& linear = problem_.linears[i];
    outcomes.push_back(QuantizeLinear(site, Task(i, linear.w, linear.n, false), true));
    losses.push_back(outcomes.back().loss);
    if (!(losses.back() <= result.linears[i].loss_rtn)) return false;
  }
  if (!(Score(losses) <= kAcceptFraction * none_score)) return false;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    result.linears[i].q = std::move(outcomes[i].q);
    result.linears[i].loss = outcomes[i].loss;
  }
  result.scale = candidate.s;
  result.scaling = candidate.name;
  result.alpha = candidate.alpha;
  return true;
}

SiteResult SiteQuantizer::Run() {
  SiteResult result;
  const SiteView unscaled{gram_, {}};
  std::vector<double> losses;
  for (size_t i = 0; i < problem_.linears.size(); ++i) {
    const LinearProblem& linear = problem_.linears[i];
    LinearOutcome outcome =
        QuantizeLinear(unscaled, Task(i, linear.w, linear.n, false), /*keep_codes=*/true);
    losses.push_back(outcome.loss);
    result.linears.push_back(
        {std::move(outcome.q), outcome.loss, outcome.loss_plain, energies_[i]});
  }
  // Without inputs to weigh the channels by, no scale is better than another.
  if (!problem_.scaling_allowed || gram_.identity()) return result;
  const std::vector<ScalingCandidate> candidates = scaling_.make(problem_);
  if (candidates.empty()) return result;
  TakeSamples();
  const double none_score = Score(losses);
  for (const size_t candidate : ShortList(candidates)) {
    if (TryScale(candidates[candidate], none_score, result)) break;
  }
  return result;
}

}  // namespace

SiteResult QuantizeSite(const SiteProblem& problem, const Method& method) {
  Validate(problem);
  return SiteQuantizer(problem, method).Run();
}

}  // namespace ptq
