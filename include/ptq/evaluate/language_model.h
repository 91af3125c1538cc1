// Perplexity of a language model, and how far it is from another one on the same text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ptq/evaluate/model_runner.h"

namespace ptq {

/// Sums over predicted tokens; two of them can be merged.
struct LanguageModelScore {
  int64_t tokens = 0;        ///< predicted: those that ModelRunner::Predict names
  double nll = 0;            ///< Σ −ln p(token), nats
  double reference_nll = 0;  ///< the same of the reference
  double kl = 0;             ///< Σ KL(reference ‖ model), nats; with a reference only
  int64_t same_top = 0;      ///< tokens where both models prefer the same; with a reference only
  bool compared = false;

  /// exp of the mean negative log-likelihood.
  [[nodiscard]] double Perplexity() const;
  [[nodiscard]] double ReferencePerplexity() const;
  [[nodiscard]] double MeanKl() const;
  [[nodiscard]] double TopAgreement() const;
  void Merge(const LanguageModelScore& other);
};

/// Scores logits [N, V] against the tokens that follow, [N]. `reference` may be empty. Log-softmax
/// in double. Throws InputError for vocabularies that differ and tokens outside of them.
[[nodiscard]] LanguageModelScore ScoreLogits(std::span<const float> logits,
                                             std::span<const float> reference,
                                             std::span<const int64_t> next);

/// A text by its number; called from several threads.
using TextMaker = std::function<TokenizedText(size_t)>;

/// Scores language models on `count` texts (ModelRunner::Predict), one at a time on each thread;
/// sums are taken in the texts' order. `reference` may be null. Throws what ModelRunner::Predict
/// and ScoreLogits throw.
[[nodiscard]] LanguageModelScore Evaluate(const ModelRunner& model, const ModelRunner* reference,
                                          size_t count, const TextMaker& text);
[[nodiscard]] LanguageModelScore Evaluate(const ModelRunner& model, const ModelRunner* reference,
                                          const std::vector<TokenizedText>& texts);

}  // namespace ptq
