// Texts that a language model writes itself, one token after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "ptq/evaluate/model_runner.h"

namespace ptq {

/// Chooses the token that goes behind a text from the logits [V] of its last one.
using TokenChooser = std::function<int64_t(std::span<const float> logits)>;

/// The token of the largest logit; of equal ones the first. Throws InputError where none is a
/// number.
[[nodiscard]] int64_t LikeliestToken(std::span<const float> logits);

/// Where a text ends.
struct GenerationLimits {
  int64_t new_tokens = 128;           ///< at most
  int64_t context = 0;                ///< tokens that the model reads at most, 0: nobody tells
  std::set<int64_t> end_tokens = {};  ///< end a text, and are not part of it
  /// Whether what has been generated so far is enough: it ends with a word of the user's, say. May
  /// be empty; called from the thread that generates.
  std::function<bool(std::span<const int64_t> generated)> enough = {};
};

/// What the files beside a model say: eos_token_id (a number or several) of generation_config.json,
/// else of config.json or genai_config.json; max_position_embeddings (n_positions …). Files that
/// are missing or malformed say nothing.
[[nodiscard]] GenerationLimits ReadGenerationLimits(const std::filesystem::path& model);

/// The new tokens behind `prompt` (one token or more; of a decoder behind an encoder what the
/// encoder reads), without the one that ended them. A runner
/// that was made with `continues` reads each token once where the model has caches, any other the
/// whole text each time. Const and thread-safe as far as `choose` is. Throws InputError for an
/// empty prompt, one that fills the context, and a choice outside the vocabulary, and what
/// ModelRunner::Next throws.
[[nodiscard]] std::vector<int64_t> Generate(const ModelRunner& model,
                                            const std::vector<int64_t>& prompt,
                                            const TokenChooser& choose,
                                            const GenerationLimits& limits);

}  // namespace ptq
