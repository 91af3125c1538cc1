// Shows what an evaluation has measured.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/evaluate/scores.h"
#include "ptq/flows/evaluation.h"

namespace ptq {

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
