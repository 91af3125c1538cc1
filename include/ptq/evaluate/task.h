// Tells by which measure a model can be judged, and on which of its outputs.
#pragma once

#include "ptq/model/graph.h"

namespace ptq {

enum class EvalTask {
  kAuto,           ///< what the model's outputs suggest
  kLanguageModel,  ///< next-token logits [B, T, V]: perplexity, KL divergence, top-1 agreement
  kEmbedding,      ///< [B, T, H] or [B, H]: sentence embeddings, their cosines and ranks
};

struct EvalOutput {
  EvalTask task = EvalTask::kLanguageModel;  ///< never kAuto
  ValueId value = kNoValue;                  ///< the graph's output to judge
};

/// The output that holds next-token logits: named so, else the only float output of rank 3.
/// Throws UnsupportedError when the model has none.
[[nodiscard]] ValueId LogitsOutput(const Graph& graph);

/// What `task` reads of the model: LogitsOutput, or for embeddings the first output. kAuto takes a
/// model for a language model when an output [B, T, V] is named "logits" or is as wide as the table
/// that the token ids index, and for an encoder otherwise. Throws UnsupportedError when the model
/// has no such output.
[[nodiscard]] EvalOutput ChooseOutput(const Graph& graph, EvalTask task);

}  // namespace ptq
