// The texts that models are judged by, as token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ptq/calibrate/samples.h"
#include "ptq/evaluate/model_runner.h"
#include "ptq/evaluate/scores.h"
#include "ptq/evaluate/tokenized_text.h"
#include "ptq/flows/evaluation.h"
#include "ptq/text/examples.h"

namespace ptq {

/// Tokens [begin, end) of a text, of which the last `scored` count; 0: all.
struct TextWindow {
  size_t text;
  int64_t begin;
  int64_t end;
  int64_t scored;
};

/// Texts, and what is known of them.
struct EvalTexts {
  std::vector<TokenizedText> texts;
  std::vector<TextWindow> windows;  ///< of a language model's texts; empty: they are read whole
  std::vector<double> gold;         ///< of an encoder's texts i and N + i
  ScoreTruth truth;                 ///< of a scorer's texts
  /// Of an encoder's texts: the queries, then the documents.
  std::optional<RetrievalSet> retrieval;
  CutTexts cut;
};

/// What the models that are judged together take.
struct TextNeeds {
  int64_t vocabulary = 0;              ///< the smallest that is known; 0: none is
  const FeedSamples* feeds = nullptr;  ///< instead of texts
  bool language_model = false;         ///< one of them at least, as the next two
  bool encoder_decoder = false;
  bool encoder = false;
  bool scorer = false;  ///< all of them
};

[[nodiscard]] TextNeeds NeedsOf(const std::vector<const ModelRunner*>& models);

/// Reads `request.text`. Throws UsageError for texts that none of the models is judged by.
[[nodiscard]] EvalTexts ReadEvalTexts(const EvaluationRequest& request, const TextNeeds& needs);

/// The model whose tokenizer is taken: the reference may have the only one.
[[nodiscard]] std::filesystem::path TokenizerOwner(const EvaluationRequest& request);

/// Texts of examples that say what the models should make of them: sources with targets, queries
/// with documents, texts or pairs with labels. Nothing when they are none of it.
[[nodiscard]] std::optional<EvalTexts> TextsOfExamples(const std::vector<Example>& examples,
                                                       const EvaluationRequest& request,
                                                       const TextNeeds& needs);

/// Throws UsageError for options that are not for the model.
void CheckOptionsFor(const EvaluationRequest& request, const ModelRunner& model);

}  // namespace ptq
