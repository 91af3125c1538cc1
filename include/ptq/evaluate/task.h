// Tells by which measure a model can be judged, and on which of its outputs.
#pragma once

#include <string>

#include "ptq/model/graph.h"

namespace ptq {

enum class EvalTask {
  kAuto,  ///< what the model's outputs suggest
  /// Next-token logits [B, T, V], or the last token's alone, [B, 1, V] or [B, V]: perplexity, KL
  /// divergence, top-1 agreement.
  kLanguageModel,
  kEmbedding,  ///< [B, T, H] or [B, H]: sentence embeddings, their cosines and ranks
  kScore,      ///< [B], [B, C] or [B, T, C]: numbers that mean something by themselves
};

struct EvalOutput {
  EvalTask task = EvalTask::kLanguageModel;  ///< never kAuto
  ValueId value = kNoValue;                  ///< the graph's output to judge
};

/// The output that holds next-token logits: named so, else the only float output of rank 3.
/// Throws UnsupportedError when the model has none.
[[nodiscard]] ValueId LogitsOutput(const Graph& graph);

/// What `task` reads of the model: LogitsOutput; for embeddings the output that is named as one of
/// a text ("sentence_embedding", "text_embeds" …), else the states of tokens, else the first
/// output; for scores the output named "logits", else the first. kAuto takes a model for a language
/// model when an output [B, T, V] is named "logits" or is as wide as the table that the token ids
/// index, or one [B, V] is named so and wider than half of it, for one that gives scores when there
/// are other logits or the output is of width 1, and for an encoder otherwise. `output` names the
/// output instead. With `by_token`, for kEmbedding, only outputs with a state for each token are
/// considered. Throws UnsupportedError when the model has no such output, UsageError for a name
/// that it does not have.
[[nodiscard]] EvalOutput ChooseOutput(const Graph& graph, EvalTask task,
                                      const std::string& output = "", bool by_token = false);

}  // namespace ptq
