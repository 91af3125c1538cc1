// The scaling "smooth": powers of the largest inputs over those of the largest weights.
#include "channel_scales.h"

namespace ptq {
namespace {

/// alpha = i / 20 of [0.3, 0.9]: what the paper and its users choose by hand.
constexpr int kSmoothAlphaSteps = 20;
constexpr int kFirstStep = 6;
constexpr int kLastStep = 18;

}  // namespace

/// SmoothQuant (Xiao et al. 2022, arXiv 2211.10438) eq. 4: s = max |X|^alpha / max |W|^(1 − alpha)
/// over all tokens and the rows of all siblings; x is divided by it, W multiplied.
std::vector<ScalingCandidate> MakeSmoothScaling(const SiteProblem& problem) {
  const std::vector<double> x = LogOfChannels(problem.max_abs, problem.row_of_channel);
  if (x.empty()) return {};
  const WeightSummary weights = Summarize(problem);
  const std::vector<double> w = LogOfChannels(weights.largest, problem.row_of_channel);
  if (w.empty()) return {};

  ScaleCandidates candidates(problem, weights);
  std::vector<double> log_s(x.size());
  for (int step = kFirstStep; step <= kLastStep; ++step) {
    const double alpha = double(step) / kSmoothAlphaSteps;
    for (size_t j = 0; j < x.size(); ++j) log_s[j] = alpha * x[j] - (1 - alpha) * w[j];
    candidates.Add("smooth", alpha, log_s);
  }
  return candidates.Take();
}

}  // namespace ptq
