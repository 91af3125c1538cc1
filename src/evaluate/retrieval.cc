// Ranks the documents of each query, and looks where the relevant ones stand.
#include "ptq/evaluate/retrieval.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr size_t kFirst = 10;

/// The documents of one query by falling relevance.
std::vector<int64_t> Ranked(const RetrievalSet& set, int64_t query, const Relevance& relevance) {
  std::vector<int64_t> documents;
  if (set.candidates.empty()) {
    documents.resize(size_t(set.documents));
    std::iota(documents.begin(), documents.end(), int64_t{0});
  } else {
    documents = set.candidates[size_t(query)];
  }
  std::vector<std::pair<double, int64_t>> order;
  for (const int64_t document : documents) {
    const double value = relevance(query, document);
    if (!std::isfinite(value)) {
      throw InputError("the relevance of document " + std::to_string(document + 1) + " to query " +
                       std::to_string(query + 1) + " is not finite");
    }
    order.emplace_back(-value, document);
  }
  std::ranges::sort(order);
  std::ranges::transform(order, documents.begin(), &std::pair<double, int64_t>::second);
  return documents;
}

RankingFigures FiguresOfRanking(const std::vector<int64_t>& ranked,
                                const std::vector<int64_t>& relevant) {
  RankingFigures figures;
  double ideal = 0;
  for (size_t i = 0; i < std::min(kFirst, relevant.size()); ++i) ideal += 1 / std::log2(2.0 + i);
  for (size_t i = 0; i < ranked.size(); ++i) {
    if (!std::ranges::binary_search(relevant, ranked[i])) continue;
    if (figures.mrr == 0) figures.mrr = 1 / (1.0 + double(i));
    if (i == 0) figures.recall_at_1 = 1 / double(relevant.size());
    if (i >= kFirst) break;
    figures.recall_at_10 += 1 / double(relevant.size());
    figures.ndcg_at_10 += 1 / std::log2(2.0 + double(i)) / ideal;
  }
  return figures;
}

double CommonFirst(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::vector<int64_t> x(a.begin(), a.begin() + kFirst);
  std::vector<int64_t> y(b.begin(), b.begin() + kFirst);
  std::ranges::sort(x);
  std::ranges::sort(y);
  std::vector<int64_t> both;
  std::ranges::set_intersection(x, y, std::back_inserter(both));
  return double(both.size()) / double(kFirst);
}

RankingFigures Mean(const std::vector<RankingFigures>& all) {
  RankingFigures mean;
  const auto n = double(all.size());
  for (const RankingFigures& one : all) {
    mean.mrr += one.mrr / n;
    mean.recall_at_1 += one.recall_at_1 / n;
    mean.recall_at_10 += one.recall_at_10 / n;
    mean.ndcg_at_10 += one.ndcg_at_10 / n;
  }
  return mean;
}

}  // namespace

RetrievalScore ScoreRetrieval(const RetrievalSet& set, const Relevance& own,
                              const Relevance* other) {
  const auto queries = size_t(set.queries);
  std::vector<RankingFigures> ours(queries), theirs(queries);
  std::vector<double> common(queries, -1);  // where both rank more than ten
  ParallelFor(set.queries, [&](int64_t query) {
    const auto place = size_t(query);
    const std::vector<int64_t> ranked = Ranked(set, query, own);
    ours[place] = FiguresOfRanking(ranked, set.relevant[place]);
    if (other == nullptr) return;
    const std::vector<int64_t> reference = Ranked(set, query, *other);
    theirs[place] = FiguresOfRanking(reference, set.relevant[place]);
    if (ranked.size() > kFirst) common[place] = CommonFirst(ranked, reference);
  });
  RetrievalScore score{set.queries, set.documents, Mean(ours), std::nullopt, std::nullopt};
  if (other == nullptr) return score;
  score.reference = Mean(theirs);
  double sum = 0;
  int64_t count = 0;
  for (const double share : common) {
    if (share < 0) continue;
    sum += share;
    ++count;
  }
  if (count > 0) score.overlap = sum / double(count);
  return score;
}

}  // namespace ptq
