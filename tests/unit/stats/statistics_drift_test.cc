// How far two sets of samples are from each other at a site.
#include "ptq/stats/statistics_drift.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Statistics of some tokens [rows, K].
SiteStatistics Of(int64_t k, const std::vector<float>& tokens, bool gram = true) {
  SiteStatistics statistics(k, {gram, false});
  const std::span<const float> part(tokens);
  statistics.Add(std::span(&part, 1));
  return statistics;
}

/// Tokens that lie along one of the axes, of this length.
std::vector<float> Along(int64_t k, int64_t axis, float length) {
  std::vector<float> token(static_cast<size_t>(k), 0.0f);
  token[size_t(axis)] = length;
  return token;
}

TEST(DriftBetween, IsNothingForTheSameSamples) {
  const SiteStatistics a = Of(4, {1, 2, 3, 4, -1, 0, 2, 5, 3, 3, -2, 1});
  const StatisticsDrift drift = DriftBetween(a, a);
  EXPECT_EQ(drift.mean_abs, 0);
  EXPECT_NEAR(drift.subspace, 0, 1e-5);
}

TEST(DriftBetween, MeasuresTheChangeOfMeanAbsoluteValues) {
  // Means of |x|: (2, 1) before, (3, 1.5) now: 1.5 of 3.
  const StatisticsDrift drift = DriftBetween(Of(2, {2, 1, -2, 1}), Of(2, {3, -1.5f}));
  EXPECT_NEAR(drift.mean_abs, 0.5, 1e-6);
}

TEST(DriftBetween, MeasuresTheAngleBetweenLeadingSubspaces) {
  constexpr int64_t kWidth = 32;
  // Eight axes carry nearly all energy; four of them are the same in both.
  std::vector<float> first, second;
  for (int64_t i = 0; i < 8; ++i) {
    for (const float x : Along(kWidth, i, 10.0f + float(i))) first.push_back(x);
    for (const float x : Along(kWidth, i + 4, 10.0f + float(i))) second.push_back(x);
  }
  for (int64_t i = 0; i < kWidth; ++i) {
    for (const float x : Along(kWidth, i, 0.01f)) first.push_back(x), second.push_back(x);
  }
  EXPECT_NEAR(DriftBetween(Of(kWidth, first), Of(kWidth, second)).subspace, 0.5, 1e-3);
}

TEST(DriftBetween, KnowsNoSubspaceWithoutAGramMatrix) {
  EXPECT_TRUE(std::isnan(DriftBetween(Of(2, {1, 2}, false), Of(2, {1, 2})).subspace));
}

TEST(DriftBetween, RefusesSitesOfTwoWidths) {
  EXPECT_THROW((void)DriftBetween(Of(2, {1, 2}), Of(3, {1, 2, 3})), InternalError);
}

}  // namespace
}  // namespace ptq
