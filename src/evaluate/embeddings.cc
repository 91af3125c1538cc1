// Embeds texts in parallel, and compares by cosines, neighbours and rank correlation.
#include "ptq/evaluate/embeddings.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/evaluate/neighbours.h"
#include "ptq/evaluate/rank_correlation.h"

namespace ptq {
namespace {

/// Rank correlation of the similarity within pairs with their gold scores.
std::optional<double> PairCorrelation(const Embeddings& embeddings, std::span<const double> gold) {
  const auto pairs = static_cast<int64_t>(gold.size());
  if (embeddings.count() != 2 * pairs) {
    throw InternalError("there are " + std::to_string(embeddings.count()) + " embeddings for " +
                        std::to_string(pairs) + " pairs");
  }
  std::vector<double> similarity(gold.size());
  for (int64_t i = 0; i < pairs; ++i) {
    similarity[size_t(i)] = Dot(embeddings.row(i), embeddings.row(pairs + i));
  }
  return Spearman(similarity, gold);
}

void CompareWith(const Embeddings& reference, const Embeddings& model, EmbeddingScore& score) {
  if (model.width != reference.width || model.count() != reference.count()) {
    throw InputError("the embeddings of the two models have different sizes: " +
                     std::to_string(model.width) + " and " + std::to_string(reference.width));
  }
  double sum = 0;
  double least = 1;
  for (int64_t i = 0; i < model.count(); ++i) {
    const double cosine = Dot(model.row(i), reference.row(i));
    sum += cosine;
    least = std::min(least, cosine);
  }
  score.cosine_mean = sum / double(model.count());
  score.cosine_least = least;
  score.top10_overlap = NeighbourOverlap(model, reference);
}

}  // namespace

bool NormalizeInto(std::span<const double> vector, std::span<float> result) {
  double square = 0;
  for (const double x : vector) square += x * x;
  const double norm = std::sqrt(square);
  if (!std::isfinite(norm) || norm == 0) return false;
  for (size_t j = 0; j < vector.size(); ++j) result[j] = static_cast<float>(vector[j] / norm);
  return true;
}

double Dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

Embeddings Embed(const ModelRunner& model, const SentenceModules& modules,
                 const std::vector<TokenizedText>& texts) {
  Embeddings result;
  Progress progress("evaluating", static_cast<int64_t>(texts.size()));
  for (size_t begin = 0; begin < texts.size(); begin += size_t(kTextsAtOnce)) {
    const size_t count = std::min(size_t(kTextsAtOnce), texts.size() - begin);
    std::vector<std::vector<float>> rows(count);
    ParallelFor(int64_t(count), [&](int64_t i) {
      const Tensor output = model.Run(texts[begin + size_t(i)]);
      const std::span<const float> values = output.data<float>();
      const std::vector<double> vector = output.rank() == 1
                                             ? std::vector<double>(values.begin(), values.end())
                                             : modules.Apply(values, output.dim(1));
      rows[size_t(i)].resize(vector.size());
      if (NormalizeInto(vector, rows[size_t(i)])) return;
      throw InputError("'" + model.graph().model().path().string() + "': the embedding of text " +
                       std::to_string(begin + size_t(i) + 1) + " is zero or not finite");
    });
    if (begin == 0) {
      result.width = static_cast<int64_t>(rows[0].size());
      result.values.reserve(texts.size() * rows[0].size());
    }
    for (const auto& row : rows) result.values.insert(result.values.end(), row.begin(), row.end());
    progress.Advance(int64_t(count));
  }
  return result;
}

EmbeddingScore ScoreEmbeddings(const Embeddings& model, const Embeddings* reference,
                               std::span<const double> gold, const RetrievalSet* retrieval) {
  EmbeddingScore score;
  if (reference != nullptr) CompareWith(*reference, model, score);
  if (retrieval != nullptr) {
    const auto by_cosine = [&](const Embeddings& embeddings) -> Relevance {
      return [&](int64_t query, int64_t document) {
        return Dot(embeddings.row(query), embeddings.row(retrieval->queries + document));
      };
    };
    const Relevance other = by_cosine(reference != nullptr ? *reference : model);
    score.retrieval =
        ScoreRetrieval(*retrieval, by_cosine(model), reference != nullptr ? &other : nullptr);
  }
  if (gold.empty()) return score;
  score.has_gold = true;
  score.spearman = PairCorrelation(model, gold);
  if (reference != nullptr) score.reference_spearman = PairCorrelation(*reference, gold);
  return score;
}

}  // namespace ptq
