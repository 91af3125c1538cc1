#include "ptq/evaluate/task.h"

#include <algorithm>

#include "ptq/base/error.h"
#include "ptq/pipeline/samples.h"

namespace ptq {
namespace {

bool IsNamedLogits(const Graph& graph, ValueId id) {
  return graph.value(id).name.find("logits") != std::string::npos;
}

bool LooksLikeNextTokens(const Graph& graph, ValueId id, int64_t vocabulary) {
  const auto declared = graph.DeclaredType(id);
  const bool named = IsNamedLogits(graph, id);
  if (!declared.shape.has_value()) return named;
  if (declared.shape->size() != 3) return false;
  const int64_t width = declared.shape->back();
  // A head may be padded to another number of rows than the table has; the logits of a classifier
  // of tokens have a few classes only.
  if (named) return vocabulary == 0 || width < 0 || 2 * width > vocabulary;
  return IsFloat(declared.dtype) && vocabulary > 0 && width == vocabulary;
}

ValueId EmbeddingOutput(const Graph& graph) {
  const std::string model = "'" + graph.model().path().string() + "'";
  if (graph.graph_outputs().empty()) throw UnsupportedError(model + " has no output");
  const ValueId first = graph.graph_outputs().front();
  const auto declared = graph.DeclaredType(first);
  const bool is_float = declared.dtype == DType::kUndefined || IsFloat(declared.dtype);
  const size_t rank = declared.shape.has_value() ? declared.shape->size() : 3;
  if (is_float && (rank == 2 || rank == 3)) return first;
  throw UnsupportedError(model + ": the first output, '" + graph.value(first).name +
                         "', holds neither next-token logits [batch, length, vocabulary] nor "
                         "embeddings [batch, length, width] or [batch, width]");
}

}  // namespace

ValueId LogitsOutput(const Graph& graph) {
  ValueId only = kNoValue;
  int candidates = 0;
  for (const ValueId id : graph.graph_outputs()) {
    if (IsNamedLogits(graph, id)) return id;
    const auto declared = graph.DeclaredType(id);
    if (IsFloat(declared.dtype) && declared.shape.has_value() && declared.shape->size() == 3) {
      only = id;
      ++candidates;
    }
  }
  if (candidates == 1) return only;
  throw UnsupportedError("'" + graph.model().path().string() +
                         "' has no output with next-token logits [batch, length, vocabulary]");
}

EvalOutput ChooseOutput(const Graph& graph, EvalTask task) {
  if (task == EvalTask::kLanguageModel) return {task, LogitsOutput(graph)};
  if (task == EvalTask::kAuto) {
    const int64_t vocabulary = VocabularySize(graph);
    const auto& outputs = graph.graph_outputs();
    const auto found = std::ranges::find_if(
        outputs, [&](ValueId id) { return LooksLikeNextTokens(graph, id, vocabulary); });
    if (found != outputs.end()) return {EvalTask::kLanguageModel, *found};
  }
  return {EvalTask::kEmbedding, EmbeddingOutput(graph)};
}

}  // namespace ptq
