// How well documents are found that answer queries.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace ptq {

/// Q queries and D documents, by number.
struct RetrievalSet {
  int64_t queries = 0;
  int64_t documents = 0;
  std::vector<std::vector<int64_t>> relevant;    ///< [Q], each ascending and not empty
  std::vector<std::vector<int64_t>> candidates;  ///< [Q]: what is ranked; empty: all documents
};

/// Means over the queries, 0 … 1, of documents ranked by falling relevance, of equal ones the
/// earlier first.
struct RankingFigures {
  double mrr = 0;           ///< 1 ÷ rank of the first relevant document
  double recall_at_1 = 0;   ///< share of the relevant documents that is ranked first
  double recall_at_10 = 0;  ///< … among the first 10
  double ndcg_at_10 = 0;    ///< Σ 1/log₂(1 + rank) over those, ÷ the largest that it can be
};

struct RetrievalScore {
  int64_t queries = 0;
  int64_t documents = 0;
  RankingFigures own;
  std::optional<RankingFigures> reference;
  /// Share of the first 10 that both models have in common; absent where no query has more than 10.
  std::optional<double> overlap;
};

/// How relevant a document is to a query. Called from several threads.
using Relevance = std::function<double(int64_t query, int64_t document)>;

/// `other` may be null. Throws InputError for a relevance that is not finite.
[[nodiscard]] RetrievalScore ScoreRetrieval(const RetrievalSet& set, const Relevance& own,
                                            const Relevance* other);

}  // namespace ptq
