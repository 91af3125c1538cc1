// Names every figure once, with its unit and direction.
#include "ptq/evaluate/figures.h"

#include <algorithm>

namespace ptq {
namespace {

constexpr const char* kRanks = "correlation of ranks, -1 to 1";
constexpr const char* kCosine = "cosine, -1 to 1";

/// What two models have in common.
Figure Common(const char* name, const char* key, std::optional<double> value, Better better,
              const char* unit) {
  return {name, key, value, better, unit};
}

/// What each model has alone.
Figure Own(const char* name, const char* key, std::optional<double> value,
           std::optional<double> reference, Better better, const char* unit) {
  return {name, key, value, better, unit, true, reference};
}

void AddRetrieval(const std::optional<RetrievalScore>& score, std::vector<Figure>& figures) {
  if (!score.has_value()) return;
  const std::vector<Figure> more = FiguresOf(*score);
  figures.insert(figures.end(), more.begin(), more.end());
}

}  // namespace

std::vector<Figure> FiguresOf(const LanguageModelScore& score) {
  const bool compared = score.compared;
  std::vector<Figure> figures = {
      Own("ppl", "perplexity", score.Perplexity(),
          compared ? std::optional(score.ReferencePerplexity()) : std::nullopt, Better::kLower,
          "exp of the mean nats per token")};
  if (!compared) return figures;
  figures.push_back(Common("ppl_ratio", "perplexity_ratio",
                           score.Perplexity() / score.ReferencePerplexity(), Better::kLower,
                           "perplexity over the reference's"));
  figures.push_back(Common("kl", "kl", score.MeanKl(), Better::kLower, "nats per token"));
  figures.push_back(
      Common("top1", "top1_agreement", score.TopAgreement(), Better::kHigher, "share of tokens"));
  return figures;
}

std::vector<Figure> FiguresOf(const EmbeddingScore& score) {
  std::vector<Figure> figures;
  if (score.cosine_mean.has_value()) {
    figures = {Common("cosine", "cosine_mean", score.cosine_mean, Better::kHigher, kCosine),
               Common("cosine_least", "cosine_least", score.cosine_least, Better::kHigher, kCosine),
               Common("top10", "top10_overlap", score.top10_overlap, Better::kHigher,
                      "share of the 10 nearest texts")};
  }
  if (score.has_gold) {
    figures.push_back(Own("spearman", "spearman", score.spearman, score.reference_spearman,
                          Better::kHigher, kRanks));
  }
  AddRetrieval(score.retrieval, figures);
  return figures;
}

std::vector<Figure> FiguresOf(const ScoreComparison& score) {
  std::vector<Figure> figures;
  if (score.has_gold) {
    figures.push_back(Own("spearman", "spearman", score.spearman, score.reference_spearman,
                          Better::kHigher, kRanks));
  }
  if (score.accuracy.has_value()) {
    figures.push_back(Own("accuracy", "accuracy", score.accuracy, score.reference_accuracy,
                          Better::kHigher, "share of texts"));
  }
  AddRetrieval(score.retrieval, figures);
  if (!score.difference_mean.has_value()) return figures;
  if (score.width == 1) {
    figures.push_back(Common("rank_correlation", "rank_correlation", score.rank_correlation,
                             Better::kHigher, kRanks));
  } else {
    figures.push_back(Common("top1", "top1_agreement", score.top1_agreement, Better::kHigher,
                             "share of rows with the same largest"));
  }
  figures.push_back(Common("difference", "difference_mean", score.difference_mean, Better::kLower,
                           "mean |difference| of scores"));
  figures.push_back(Common("difference_largest", "difference_largest", score.difference_largest,
                           Better::kLower, "largest |difference| of scores"));
  return figures;
}

std::vector<Figure> FiguresOf(const RetrievalScore& score) {
  const auto own = [&](const char* name, const char* key, double RankingFigures::*member,
                       const char* unit) {
    std::optional<double> reference;
    if (score.reference.has_value()) reference = (*score.reference).*member;
    return Own(name, key, score.own.*member, reference, Better::kHigher, unit);
  };
  std::vector<Figure> figures = {
      own("mrr", "mrr", &RankingFigures::mrr, "mean of 1 over the first relevant rank"),
      own("ndcg10", "ndcg_at_10", &RankingFigures::ndcg_at_10, "0 to 1"),
      own("recall1", "recall_at_1", &RankingFigures::recall_at_1, "share of relevant documents"),
      own("recall10", "recall_at_10", &RankingFigures::recall_at_10,
          "share of relevant documents")};
  if (score.reference.has_value()) {
    figures.push_back(Common("retrieved10", "retrieved_overlap", score.overlap, Better::kHigher,
                             "share of the first 10 documents"));
  }
  return figures;
}

std::vector<Figure> FiguresOf(const GenerationScore& score) {
  std::vector<Figure> figures;
  if (score.exact_match.has_value()) {
    figures.push_back(Own("exact_match", "exact_match", score.exact_match,
                          score.reference_exact_match, Better::kHigher, "share of tasks"));
  }
  if (!score.same.has_value()) return figures;
  figures.push_back(Common("same_generations", "same_generations", score.same, Better::kHigher,
                           "share of tasks"));
  figures.push_back(Common("agreed_tokens", "agreed_tokens", score.agreed_tokens, Better::kHigher,
                           "tokens before the first that differs"));
  return figures;
}

const Figure* FindFigure(const std::vector<Figure>& figures, std::string_view name) {
  const auto found = std::ranges::find_if(
      figures, [&](const Figure& figure) { return figure.name == name || figure.key == name; });
  return found == figures.end() ? nullptr : &*found;
}

}  // namespace ptq
