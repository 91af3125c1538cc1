// Gets token ids to run a model on: the file, the tokenizer beside the model, the defaults.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/model/graph.h"
#include "ptq/text/calibration.h"
#include "ptq/text/calibration_files.h"
#include "ptq/text/chat_template.h"
#include "ptq/text/tokenizer.h"

namespace ptq {

/// There is text, and nothing that makes tokens of it.
class NoTokenizer : public InputError {
 public:
  using InputError::InputError;
};

/// What makes tokens of text.
struct TextTools {
  std::optional<Tokenizer> tokenizer;         ///< never empty
  std::optional<ChatTemplate> chat_template;  ///< beside it, where there is one
  [[nodiscard]] const ChatTemplate* chat() const {
    return chat_template.has_value() ? &*chat_template : nullptr;
  }
};

/// The tokenizer at `tokenizer` (empty: beside `model`). Throws InputError; NoTokenizer when there
/// is none.
[[nodiscard]] TextTools LoadTextTools(const std::filesystem::path& model,
                                      const std::filesystem::path& tokenizer);

/// Reads `options.files` (none: the prompts inside the program) with the tokenizer at
/// `tokenizer` (empty: beside `model`); texts with tokens past the model's vocabulary are skipped.
/// Throws InputError or UsageError with what to do when text cannot be tokenised;
/// NoTokenizer when
/// there is no tokenizer.
[[nodiscard]] CalibrationSet ReadSamples(CalibrationOptions options,
                                         const std::filesystem::path& model,
                                         const std::filesystem::path& tokenizer,
                                         int64_t vocabulary);

/// Pairs of sentences as token ids.
struct PairSamples {
  std::vector<std::vector<int64_t>> ids;  ///< [2N]: i and N + i are a pair; none is empty
  std::vector<double> scores;             ///< [N], as ReadSentencePairs gives them
  CutTexts cut = {};
};

/// The pairs of the only file of `options`, each sentence tokenized on its own with special tokens
/// and cut to `options.seq_len`, without those that have tokens past the model's vocabulary;
/// nothing when the file is not one of pairs. Throws as ReadSamples and ReadSentencePairs do.
[[nodiscard]] std::optional<PairSamples> ReadPairSamples(const CalibrationOptions& options,
                                                         const std::filesystem::path& model,
                                                         const std::filesystem::path& tokenizer,
                                                         int64_t vocabulary);

/// What a model is fed of two texts that belong together: rerankers, which give a few numbers for a
/// text, both as a pair, language models both as one text, and others each alone.
[[nodiscard]] PairUse PairUseOf(const Graph& graph);

/// Rows of the table that input_ids index, 0 where the graph does not show it.
[[nodiscard]] int64_t VocabularySize(const Graph& graph);

}  // namespace ptq
