// Shows what an evaluation has measured.
#pragma once

#include <cstddef>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/evaluate/scores.h"

namespace ptq {

/// What was judged, for all kinds of models.
struct EvalSubject {
  size_t texts = 0;
  size_t pairs = 0;     ///< 0: the texts are no pairs
  std::string output;   ///< name of the judged output
  std::string pooling;  ///< of embeddings; empty: the model itself gives one vector for a text
  bool compared = false;
};

[[nodiscard]] std::string EvalText(const LanguageModelScore& score, const EvalSubject& subject);
[[nodiscard]] nlohmann::ordered_json EvalJson(const LanguageModelScore& score,
                                              const EvalSubject& subject);

[[nodiscard]] std::string EvalText(const EmbeddingScore& score, const EvalSubject& subject);
[[nodiscard]] nlohmann::ordered_json EvalJson(const EmbeddingScore& score,
                                              const EvalSubject& subject);

[[nodiscard]] std::string EvalText(const ScoreComparison& score, const EvalSubject& subject);
[[nodiscard]] nlohmann::ordered_json EvalJson(const ScoreComparison& score,
                                              const EvalSubject& subject);

}  // namespace ptq
