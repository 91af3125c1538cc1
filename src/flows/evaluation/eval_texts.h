// The texts that models are judged by, as token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptq/evaluate/model_runner.h"
#include "ptq/evaluate/tokenized_text.h"
#include "ptq/flows/evaluation.h"

namespace ptq {

/// Texts, with gold scores when they are pairs of sentences.
struct EvalTexts {
  std::vector<TokenizedText> texts;
  std::vector<double> gold;  ///< of texts i and N + i
  bool fed = false;          ///< the texts are numbers of samples of complete inputs
};

/// What the models that are judged together take.
struct TextNeeds {
  int64_t vocabulary = 0;              ///< the smallest that is known; 0: none is
  const FeedSamples* feeds = nullptr;  ///< instead of texts
  bool language_model = false;         ///< one of them at least
  bool encoder = false;
  bool scorer = false;  ///< one at least, and nothing else
  bool encoder_decoder = false;
};

[[nodiscard]] TextNeeds NeedsOf(const std::vector<const ModelRunner*>& models);

/// Reads `request.text`. Throws UsageError for texts that none of the models is judged by.
[[nodiscard]] EvalTexts ReadEvalTexts(const EvaluationRequest& request, const TextNeeds& needs);

/// Throws UsageError for options that are not for the model.
void CheckOptionsFor(const EvaluationRequest& request, const ModelRunner& model);

}  // namespace ptq
