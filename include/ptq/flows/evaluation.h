// A model, or the models of a directory, judged on texts, alone or beside another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/exact_match.h"
#include "ptq/evaluate/figures.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/evaluate/pooling.h"
#include "ptq/evaluate/scores.h"
#include "ptq/evaluate/task.h"
#include "ptq/text/calibration.h"

namespace ptq {

struct EvaluationRequest {
  std::filesystem::path source;     ///< the model: an .onnx file or its directory
  std::filesystem::path reference;  ///< another to compare with; empty: none
  /// What ReadSamples takes; pairs of sentences with scores, which only an encoder is judged by;
  /// pairs of sources and targets; complete inputs.
  std::filesystem::path text;
  /// Instead of texts: prompts with answers, which a language model writes itself.
  std::filesystem::path task_file;
  GenerationOptions generation;
  std::filesystem::path tokenizer;  ///< empty: the one beside the model, or beside the reference
  int64_t seq_len = 512;            ///< tokens of a text at most; the rest is cut off
  /// Of a language model: tokens by which windows of `seq_len` move on over longer texts, which are
  /// then not cut; 0: no windows.
  int64_t stride = 0;
  int64_t step = 0;  ///< tokens of a language model's text that are fed at a time; 0: all at once
  EvalTask task = EvalTask::kAuto;
  /// Bytes for weights of 16 bits that are held as float32, of all models together; of a model
  /// whose weights take more, each is widened whenever it is used. 0: half of the machine's memory.
  int64_t memory_budget = 0;
  std::string output;              ///< to judge; empty: the one that users consume
  std::optional<Pooling> pooling;  ///< of states of tokens; none: as modules.json says, else mean
};

/// What was judged, for all kinds of models.
struct EvalSubject {
  size_t texts = 0;
  size_t pairs = 0;     ///< 0: the texts are no pairs
  std::string output;   ///< name of the judged output
  std::string pooling;  ///< of embeddings; empty: the model itself gives one vector for a text
  std::string reading;  ///< ModelRunner::reading
  int64_t seq_len = 0;  ///< tokens of a text, or a window, at most
  CutTexts cut;         ///< what of the texts was longer
  int64_t stride = 0;   ///< of windows; 0: there are none
  size_t windows = 0;
  bool compared = false;
};

using EvalScore =
    std::variant<LanguageModelScore, EmbeddingScore, ScoreComparison, GenerationScore>;

/// One model of a directory.
struct PartEvaluation {
  std::string file;  ///< below the directory
  std::string note;  ///< why it was not judged; empty when it was
  EvalSubject subject;
  EvalScore score;
};

struct Evaluation {
  EvalSubject subject;
  EvalScore score;
  /// Of a directory of several models: each of them. `score` is then that of its language models
  /// together, each token counting once for each model that predicts it; where there is none, that
  /// of the last model that was judged.
  std::vector<PartEvaluation> parts = {};
};

/// What was measured, as a flat list: for limits, tables and reports.
[[nodiscard]] std::vector<Figure> FiguresOf(const Evaluation& evaluation);

/// Loads the models, reads the texts and judges them. What one model of a directory makes for
/// another is what it does when they are used: each side's own. Throws UsageError for texts that
/// the model cannot be judged by, InputError for those that hold nothing to judge, and what
/// ModelRunner and ReadSamples throw.
[[nodiscard]] Evaluation EvaluateModel(const EvaluationRequest& request);

}  // namespace ptq
