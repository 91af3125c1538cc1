// Knows what outputs are by their names, shapes and types, and chooses one.
#include "ptq/evaluate/task.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "ptq/base/error.h"
#include "ptq/calibrate/samples.h"

namespace ptq {
namespace {

bool IsNamedLogits(const Graph& graph, ValueId id) {
  return graph.value(id).name.find("logits") != std::string::npos;
}

bool LooksLikeNextTokens(const Graph& graph, ValueId id, int64_t vocabulary) {
  const auto declared = graph.DeclaredType(id);
  const bool named = IsNamedLogits(graph, id);
  if (!declared.shape.has_value()) return named;
  const size_t rank = declared.shape->size();
  const int64_t width = rank > 0 ? declared.shape->back() : 0;
  // The last token's alone [B, V]: told from a classifier's by their number.
  if (rank == 2) return named && vocabulary > 0 && 2 * width > vocabulary;
  if (rank != 3) return false;
  // A head may be padded to another number of rows than the table has; the logits of a classifier
  // of tokens have a few classes only.
  if (named) return vocabulary == 0 || width < 0 || 2 * width > vocabulary;
  return IsFloat(declared.dtype) && vocabulary > 0 && width == vocabulary;
}

/// Dimensions of an output; -1 where the model does not declare its shape.
int RankOf(const Graph& graph, ValueId id) {
  const auto declared = graph.DeclaredType(id);
  return declared.shape.has_value() ? int(declared.shape->size()) : -1;
}

bool IsFloatOutput(const Graph& graph, ValueId id) {
  const DType dtype = graph.DeclaredType(id).dtype;
  return dtype == DType::kUndefined || IsFloat(dtype);
}

/// The first output of one of these names, or kNoValue.
ValueId FirstNamed(const Graph& graph, std::span<const std::string_view> names, int least_rank) {
  for (const std::string_view name : names) {
    for (const ValueId id : graph.graph_outputs()) {
      const int rank = RankOf(graph, id);
      if (graph.value(id).name == name && (rank < 0 || rank >= least_rank)) return id;
    }
  }
  return kNoValue;
}

/// What exporters call the embedding of a text that is complete: Optimum (sentence-transformers,
/// CLIP), and others.
constexpr std::array<std::string_view, 7> kTextNames = {
    "sentence_embedding", "sentence_embeddings", "text_embeds", "text_embeddings",
    "text_features",      "embeddings",          "embedding"};
/// The states of tokens. BERT's pooler_output, of which nobody's embeddings are made, is none.
constexpr std::array<std::string_view, 3> kTokenNames = {"last_hidden_state", "token_embeddings",
                                                         "hidden_states"};

ValueId EmbeddingOutput(const Graph& graph, bool by_token) {
  const std::string model = "'" + graph.model().path().string() + "'";
  if (graph.graph_outputs().empty()) throw UnsupportedError(model + " has no output");
  const int least = by_token ? 3 : 2;
  if (!by_token) {
    const ValueId named = FirstNamed(graph, kTextNames, least);
    if (named != kNoValue) return named;
  }
  const ValueId states = FirstNamed(graph, kTokenNames, least);
  if (states != kNoValue) return states;
  for (const ValueId id : graph.graph_outputs()) {
    const int rank = RankOf(graph, id);
    if (IsFloatOutput(graph, id) && (rank < 0 || (rank >= least && rank <= 3))) return id;
  }
  throw UnsupportedError(model + ": no output holds " +
                         (by_token ? "" : "next-token logits [batch, length, vocabulary] or ") +
                         "embeddings [batch, length, width]" +
                         (by_token ? "" : " or [batch, width]"));
}

ValueId ScoreOutput(const Graph& graph) {
  ValueId first = kNoValue;
  for (const ValueId id : graph.graph_outputs()) {
    if (!IsFloatOutput(graph, id)) continue;
    if (IsNamedLogits(graph, id)) return id;
    if (first == kNoValue) first = id;
  }
  if (first != kNoValue) return first;
  throw UnsupportedError("'" + graph.model().path().string() + "' has no output of floats");
}

ValueId NamedOutput(const Graph& graph, const std::string& name) {
  std::string names;
  for (const ValueId id : graph.graph_outputs()) {
    if (graph.value(id).name == name) return id;
    names += (names.empty() ? "" : ", ") + graph.value(id).name;
  }
  throw UsageError("--output: '" + graph.model().path().string() + "' has no output '" + name +
                   "' (it has " + names + ")");
}

/// Whether an output holds one number for each text.
bool IsOfWidthOne(const Graph& graph, ValueId id) {
  const auto declared = graph.DeclaredType(id);
  if (!declared.shape.has_value()) return false;
  return declared.shape->size() == 1 || (declared.shape->size() > 1 && declared.shape->back() == 1);
}

/// The task that an output suggests.
EvalTask TaskOf(const Graph& graph, ValueId id) {
  if (LooksLikeNextTokens(graph, id, VocabularySize(graph))) return EvalTask::kLanguageModel;
  const bool score = IsNamedLogits(graph, id) || IsOfWidthOne(graph, id);
  return score ? EvalTask::kScore : EvalTask::kEmbedding;
}

EvalOutput Suggested(const Graph& graph) {
  const auto& outputs = graph.graph_outputs();
  const auto is_language_model = [&](ValueId id) {
    return TaskOf(graph, id) == EvalTask::kLanguageModel;
  };
  if (const auto found = std::ranges::find_if(outputs, is_language_model); found != outputs.end()) {
    return {EvalTask::kLanguageModel, *found};
  }
  const auto is_logits = [&](ValueId id) { return IsNamedLogits(graph, id); };
  const bool embeds = FirstNamed(graph, kTextNames, 2) != kNoValue;
  if (const auto found = std::ranges::find_if(outputs, is_logits);
      !embeds && found != outputs.end()) {
    return {EvalTask::kScore, *found};
  }
  if (!outputs.empty() && !embeds && IsOfWidthOne(graph, outputs.front()) &&
      IsFloatOutput(graph, outputs.front())) {
    return {EvalTask::kScore, outputs.front()};
  }
  const ValueId chosen = EmbeddingOutput(graph, /*by_token=*/false);
  return {TaskOf(graph, chosen), chosen};
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

EvalOutput ChooseOutput(const Graph& graph, EvalTask task, const std::string& output,
                        bool by_token) {
  if (!output.empty()) {
    const ValueId id = NamedOutput(graph, output);
    return {task == EvalTask::kAuto ? TaskOf(graph, id) : task, id};
  }
  switch (task) {
    case EvalTask::kAuto: break;
    case EvalTask::kLanguageModel: return {task, LogitsOutput(graph)};
    case EvalTask::kEmbedding: return {task, EmbeddingOutput(graph, by_token)};
    case EvalTask::kScore: return {task, ScoreOutput(graph)};
  }
  return Suggested(graph);
}

}  // namespace ptq
