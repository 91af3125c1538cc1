// Sentence embeddings of an encoder, and how far they are from those of another one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ptq/evaluate/model_runner.h"
#include "ptq/evaluate/retrieval.h"
#include "ptq/evaluate/sentence_modules.h"

namespace ptq {

/// One vector of length 1 for each text.
struct Embeddings {
  int64_t width = 0;          ///< H
  std::vector<float> values;  ///< [N, H], row-major

  [[nodiscard]] int64_t count() const { return width == 0 ? 0 : int64_t(values.size()) / width; }
  [[nodiscard]] std::span<const float> row(int64_t i) const {
    return std::span(values).subspan(size_t(i * width), size_t(width));
  }
};

/// Writes `vector` divided by its Euclidean norm into `result`, of the same size. False, and
/// `result` undefined, when it is zero or not finite.
[[nodiscard]] bool NormalizeInto(std::span<const double> vector, std::span<float> result);

/// Σ a·b in double: the cosine of the angle between two vectors of length 1.
[[nodiscard]] double Dot(std::span<const float> a, std::span<const float> b);

/// The embeddings of texts, in their order. A text runs alone, so nothing is padded
/// and every row of the output belongs to a token. `modules` make one vector of these states; where
/// the model itself gives one vector for a text, that is taken as it is. Besides the result, memory
/// does not grow with the number of texts. Throws InputError for a text whose embedding is zero or
/// not finite.
[[nodiscard]] Embeddings Embed(const ModelRunner& model, const SentenceModules& modules,
                               const std::vector<TokenizedText>& texts);

/// What two models, or a model and gold scores, have in common; all of it without a unit.
struct EmbeddingScore {
  /// Between both models' embeddings of a text, −1 … 1; with a reference only.
  std::optional<double> cosine_mean;
  std::optional<double> cosine_least;
  std::optional<double> top10_overlap;  ///< NeighbourOverlap, 0 … 1; with a reference only
  /// Rank correlation of the cosine of a pair's embeddings with its gold score, −1 … 1; with gold
  /// scores only, and absent where Spearman is.
  std::optional<double> spearman;
  std::optional<double> reference_spearman;  ///< the same of the reference
  bool has_gold = false;                     ///< there were gold scores
  std::optional<RetrievalScore> retrieval;   ///< of queries and documents
};

/// `reference` may be null, `gold` empty. `retrieval` may be null; else the texts are its queries,
/// then its documents, which are ranked by cosines. With N gold scores there are 2N texts, of which
/// i and N + i are a pair. Throws InputError when the models' embeddings differ in width.
[[nodiscard]] EmbeddingScore ScoreEmbeddings(const Embeddings& model, const Embeddings* reference,
                                             std::span<const double> gold,
                                             const RetrievalSet* retrieval = nullptr);

}  // namespace ptq
