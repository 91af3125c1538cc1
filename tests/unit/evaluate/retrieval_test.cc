// Rankings of a few documents, of which the figures are known by hand.
#include "ptq/evaluate/retrieval.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Documents in the order 0, 1, 2 … for every query.
double InOrder(int64_t /*query*/, int64_t document) { return -double(document); }
double Backwards(int64_t /*query*/, int64_t document) { return double(document); }

TEST(ScoreRetrieval, FollowsTheDefinitions) {
  // Ranks of the relevant documents are 2 and 4; then 1.
  const RetrievalSet set{2, 12, {{1, 3}, {0}}, {}};
  const RetrievalScore score = ScoreRetrieval(set, InOrder, nullptr);
  EXPECT_NEAR(score.own.mrr, (0.5 + 1) / 2, 1e-12);
  EXPECT_NEAR(score.own.recall_at_1, (0 + 1) / 2.0, 1e-12);
  EXPECT_NEAR(score.own.recall_at_10, 1, 1e-12);
  const double gain = 1 / std::log2(3) + 1 / std::log2(5);
  EXPECT_NEAR(score.own.ndcg_at_10, (gain / (1 + 1 / std::log2(3)) + 1) / 2, 1e-12);
  EXPECT_FALSE(score.reference.has_value());
}

TEST(ScoreRetrieval, ComparesTheFirstTenOfBothModels) {
  const RetrievalSet set{1, 12, {{0}}, {}};
  const Relevance other = Backwards;
  const RetrievalScore score = ScoreRetrieval(set, InOrder, &other);
  EXPECT_EQ(score.overlap, 0.8);  // 0 … 9 and 2 … 11
  EXPECT_EQ(score.own.mrr, 1);
  EXPECT_NEAR(score.reference->mrr, 1.0 / 12, 1e-12);
  EXPECT_EQ(score.reference->recall_at_10, 0);
  EXPECT_EQ(score.reference->ndcg_at_10, 0);
}

TEST(ScoreRetrieval, RanksTheCandidatesOfAQueryAlone) {
  const RetrievalSet set{1, 12, {{9}}, {{7, 9, 11}}};
  const Relevance other = Backwards;
  const RetrievalScore score = ScoreRetrieval(set, InOrder, &other);
  EXPECT_EQ(score.own.mrr, 0.5);
  EXPECT_FALSE(score.overlap.has_value());
}

TEST(ScoreRetrieval, PutsTheEarlierOfEqualDocumentsFirst) {
  const RetrievalSet set{1, 3, {{2}}, {}};
  const Relevance same = [](int64_t, int64_t) { return 1.0; };
  EXPECT_NEAR(ScoreRetrieval(set, same, nullptr).own.mrr, 1.0 / 3, 1e-12);
  const Relevance nan = [](int64_t, int64_t) { return std::numeric_limits<double>::quiet_NaN(); };
  EXPECT_THROW((void)ScoreRetrieval(set, nan, nullptr), InputError);
}

}  // namespace
}  // namespace ptq
