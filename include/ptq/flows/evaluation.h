// A model judged on texts, alone or beside another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/figures.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/evaluate/pooling.h"
#include "ptq/evaluate/scores.h"
#include "ptq/evaluate/task.h"

namespace ptq {

struct EvaluationRequest {
  std::filesystem::path source;     ///< the model: an .onnx file or its directory
  std::filesystem::path reference;  ///< another to compare with; empty: none
  /// What ReadSamples takes, or pairs of sentences with scores, which only an encoder is judged by.
  std::filesystem::path text;
  std::filesystem::path tokenizer;  ///< empty: the one beside the model
  int64_t seq_len = 512;            ///< tokens of a text at most; the rest is cut off
  int64_t step = 0;  ///< tokens of a language model's text that are fed at a time; 0: all at once
  EvalTask task = EvalTask::kAuto;
  std::string output;              ///< to judge; empty: the one that users consume
  std::optional<Pooling> pooling;  ///< of states of tokens; none: as modules.json says, else mean
};

/// What was judged, for all kinds of models.
struct EvalSubject {
  size_t texts = 0;
  size_t pairs = 0;     ///< 0: the texts are no pairs
  std::string output;   ///< name of the judged output
  std::string pooling;  ///< of embeddings; empty: the model itself gives one vector for a text
  bool compared = false;
};

struct Evaluation {
  EvalSubject subject;
  std::variant<LanguageModelScore, EmbeddingScore, ScoreComparison> score;
};

/// What was measured, as a flat list: for limits, tables and reports.
[[nodiscard]] std::vector<Figure> FiguresOf(const Evaluation& evaluation);

/// Loads the models, reads the texts and judges them. Throws UsageError for texts that the model
/// cannot be judged by, InputError for those that hold nothing to judge, and what ModelRunner and
/// ReadSamples throw.
[[nodiscard]] Evaluation EvaluateModel(const EvaluationRequest& request);

}  // namespace ptq
