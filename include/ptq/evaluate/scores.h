// Models whose outputs mean something by themselves (rerankers, regressors, classifiers), and how
// far they are from another one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ptq/evaluate/model_runner.h"
#include "ptq/evaluate/retrieval.h"

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
  std::optional<double> accuracy;            ///< share of texts of the right class; width > 1
  std::optional<double> reference_accuracy;  ///< the same of the reference
  std::optional<RetrievalScore> retrieval;   ///< of texts that are a query with a document
};

/// What is known of the texts.
struct ScoreTruth {
  std::vector<double> gold = {};     ///< [N], for a model of width 1; may be empty
  std::vector<int64_t> labels = {};  ///< [N] numbers of classes, for one of more; may be empty
  /// The texts are each query with each of its candidates, in their order.
  std::optional<RetrievalSet> retrieval = {};
};

/// Runs the models on texts of token ids, one at a time on each thread; sums are taken in the
/// texts' order. `reference` may be null. A query's relevance is the score of width 1, of width 2
/// the second less the first. Throws InputError for scores that are not finite, models that differ
/// in width, and truths that are not for the width.
[[nodiscard]] ScoreComparison CompareScores(const ModelRunner& model, const ModelRunner* reference,
                                            const std::vector<TokenizedText>& texts,
                                            const ScoreTruth& truth);

}  // namespace ptq
