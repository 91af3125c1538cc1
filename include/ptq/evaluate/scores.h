// Models whose outputs mean something by themselves (rerankers, regressors, classifiers), and how
// far they are from another one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ptq/evaluate/model_runner.h"

namespace ptq {

/// Differences are in the unit of the scores; those of a model of C classes are taken over all of
/// them, and those of a model of tokens over all tokens.
struct ScoreComparison {
  int64_t width = 0;  ///< numbers for a text (or a token); 0 when texts differ in it
  std::optional<double> difference_mean;     ///< mean |Δ|; with a reference only, as the next five
  std::optional<double> difference_largest;  ///< max |Δ|
  std::optional<double> reference_spread;    ///< standard deviation of the reference's scores
  std::optional<double> rank_correlation;    ///< Spearman's, of both models' scores; width 1
  std::optional<double> top1_agreement;      ///< share of rows with the same largest; width > 1
  std::optional<double> spearman;            ///< Spearman's, with gold scores; width 1
  std::optional<double> reference_spearman;  ///< the same of the reference
  bool has_gold = false;                     ///< there were gold scores
};

/// Runs the models on texts of token ids, one at a time on each thread; sums are taken in the
/// texts' order. `reference` may be null, `gold` empty (else one score for each text, of a model of
/// width 1). Throws InputError for scores that are not finite and models that differ in width.
[[nodiscard]] ScoreComparison CompareScores(const ModelRunner& model, const ModelRunner* reference,
                                            const std::vector<TokenizedText>& texts,
                                            std::span<const double> gold);

}  // namespace ptq
