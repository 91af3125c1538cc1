// Whether a language model, left to write by itself, gives the answers that tasks expect.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ptq/evaluate/generation.h"

namespace ptq {

/// What of two texts need not be the same.
enum class Normalisation {
  kNone,        ///< they are compared as they are
  kStrip,       ///< white space at both ends
  kSquad,       ///< case, punctuation, English articles, white space (the SQuAD metric)
  kLastNumber,  ///< all but the last number in each, without separators of thousands (GSM8K)
};

[[nodiscard]] std::string Normalised(std::string_view text, Normalisation how);

struct GenerationTask {
  std::vector<int64_t> prompt;       ///< what is continued, or read by the encoder
  std::vector<std::string> answers;  ///< any of which is right; empty: not known
};

struct GenerationOptions {
  int64_t new_tokens = 128;            ///< at most
  std::vector<std::string> stop = {};  ///< a text ends in front of the first of them
  Normalisation normalisation = Normalisation::kStrip;
};

/// Shares are of tasks, 0 … 1.
struct GenerationScore {
  int64_t tasks = 0;
  int64_t answered = 0;                         ///< tasks whose answer is known
  int64_t tokens = 0;                           ///< that the model wrote
  std::optional<double> exact_match;            ///< of those that are answered
  std::optional<double> reference_exact_match;  ///< the same of the reference
  std::optional<double> same;  ///< both models write the same tokens; with a reference only
  /// Tokens that are the same before the first that differs, mean over the tasks where one does;
  /// absent where none does.
  std::optional<double> agreed_tokens;
};

/// Text of token ids, special tokens left out. Called from several threads.
using Decoder = std::function<std::string(const std::vector<int64_t>& ids)>;

/// Both models write greedily (Generate with LikeliestToken), several tasks at the same time.
/// `limits`: where the models' texts end, as their files say; the options decide about the rest.
/// `reference` may be null. Throws what Generate throws.
[[nodiscard]] GenerationScore ScoreGenerations(const ModelRunner& model,
                                               const ModelRunner* reference,
                                               const std::vector<GenerationTask>& tasks,
                                               const GenerationLimits& limits,
                                               const GenerationOptions& options,
                                               const Decoder& decode);

}  // namespace ptq
