// The scalings "awq" and "awq-duo": powers of the mean |x|, without or with those of weights.
#include "channel_scales.h"

namespace ptq {
namespace {

/// alpha = i / 20. alpha = 0 is "none", which is always tried.
constexpr int kAlphaSteps = 20;

std::vector<ScalingCandidate> Candidates(const SiteProblem& problem, bool duo) {
  const std::vector<double> x = LogOfChannels(problem.mean_abs, problem.row_of_channel);
  if (x.empty()) return {};
  const WeightSummary weights = Summarize(problem);
  const std::vector<double> w = LogOfChannels(weights.relative, problem.row_of_channel);
  if (w.empty()) return {};

  ScaleCandidates candidates(problem, weights);
  std::vector<double> log_s(x.size());
  const auto add = [&](const char* name, double alpha, double weight) {
    for (size_t j = 0; j < x.size(); ++j) log_s[j] = alpha * x[j] - weight * w[j];
    candidates.Add(name, alpha, log_s);
  };
  for (int step = 1; step <= kAlphaSteps; ++step) {
    add("awq", double(step) / kAlphaSteps, 0.0);
  }
  for (int step = 0; duo && step < kAlphaSteps; ++step) {  // alpha = 1 is the same in both forms
    const double alpha = double(step) / kAlphaSteps;
    add("awq-duo", alpha, 1.0 - alpha);
  }
  return candidates.Take();
}

}  // namespace

/// Lin et al. 2023 (arXiv 2306.00978) eq. 5: s = x^alpha with x = mean |X|.
std::vector<ScalingCandidate> MakeAwqScaling(const SiteProblem& problem) {
  return Candidates(problem, /*duo=*/false);
}

/// And the form of the authors' code that also looks at the weights, s = x^alpha / w̄^(1 − alpha).
std::vector<ScalingCandidate> MakeAwqDuoScaling(const SiteProblem& problem) {
  return Candidates(problem, /*duo=*/true);
}

}  // namespace ptq
