// The nearest of texts on a circle, and how many of them two models share.
#include "ptq/evaluate/neighbours.h"

#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

Embeddings OnCircle(const std::vector<double>& radians) {
  Embeddings embeddings;
  embeddings.width = 2;
  for (const double angle : radians) {
    embeddings.values.push_back(float(std::cos(angle)));
    embeddings.values.push_back(float(std::sin(angle)));
  }
  return embeddings;
}

TEST(NearestTexts, LeavesTheTextItselfOut) {
  const Embeddings texts = OnCircle({0, 1, 0.1, 2, 0.3});
  EXPECT_THAT(NearestTexts(texts, 0, 2), ElementsAre(2, 4));
  EXPECT_THAT(NearestTexts(texts, 3, 1), ElementsAre(1));
  EXPECT_THAT(NearestTexts(texts, 1, 10), ElementsAre(0, 2, 3, 4));
}

TEST(NearestTexts, TakesTheEarlierOfEquals) {
  const Embeddings texts = OnCircle({1, 1, 1, 1});
  EXPECT_THAT(NearestTexts(texts, 0, 2), ElementsAre(1, 2));
  EXPECT_THAT(NearestTexts(texts, 3, 2), ElementsAre(0, 1));
}

TEST(NeighbourOverlap, IsOneForTheSameNeighbours) {
  std::vector<double> angles(300);
  for (size_t i = 0; i < angles.size(); ++i) angles[i] = 0.01 * double(i * i % 307);
  const Embeddings texts = OnCircle(angles);
  EXPECT_EQ(NeighbourOverlap(texts, texts), 1.0);
}

TEST(NeighbourOverlap, CountsTheNeighboursThatAreShared) {
  // Two groups of 11: everybody's neighbours are the rest of the own group. In the other model text
  // 0 has changed places with text 21.
  std::vector<double> angles(22, 0);
  for (size_t i = 11; i < 22; ++i) angles[i] = 2;
  const Embeddings a = OnCircle(angles);
  std::swap(angles[0], angles[21]);
  const Embeddings b = OnCircle(angles);
  // 20 texts keep 9 of 10, the two that moved keep none.
  EXPECT_DOUBLE_EQ(*NeighbourOverlap(a, b), 20 * 9.0 / 220);
}

TEST(NeighbourOverlap, IsAbsentForTooFewTexts) {
  EXPECT_FALSE(NeighbourOverlap({}, {}).has_value());
  const Embeddings eleven = OnCircle(std::vector<double>(11, 0.5));
  EXPECT_FALSE(NeighbourOverlap(eleven, eleven).has_value());
}

}  // namespace
}  // namespace ptq
