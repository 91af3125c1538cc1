// Figures have the direction in which a model is better, and the reference's value beside theirs.
#include "ptq/evaluate/figures.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(FiguresOf, AreThoseOfOneModelWithoutAReference) {
  const auto figures = FiguresOf(LanguageModelScore{.tokens = 2, .nll = 2 * std::log(3.0)});
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_EQ(figures[0].name, "ppl");
  EXPECT_NEAR(*figures[0].value, 3, 1e-12);
  EXPECT_FALSE(figures[0].reference.has_value());
}

TEST(FiguresOf, ALanguageModelAreBetterWhenLowButForTheAgreement) {
  LanguageModelScore score{.tokens = 4, .nll = 4 * std::log(6.0)};
  score.reference_nll = 4 * std::log(5.0);
  score.kl = 1;
  score.same_top = 3;
  score.compared = true;
  const auto figures = FiguresOf(score);
  EXPECT_NEAR(*FindFigure(figures, "ppl")->reference, 5, 1e-12);
  EXPECT_NEAR(*FindFigure(figures, "ppl_ratio")->value, 1.2, 1e-12);
  EXPECT_EQ(FindFigure(figures, "kl")->value, 0.25);
  EXPECT_EQ(FindFigure(figures, "top1_agreement"), FindFigure(figures, "top1"));
  EXPECT_EQ(FindFigure(figures, "top1")->value, 0.75);
  EXPECT_EQ(FindFigure(figures, "top1")->better, Better::kHigher);
  for (const char* name : {"ppl", "ppl_ratio", "kl"}) {
    EXPECT_EQ(FindFigure(figures, name)->better, Better::kLower) << name;
  }
  EXPECT_EQ(FindFigure(figures, "cosine"), nullptr);
}

TEST(FiguresOf, EmbeddingsKeepACorrelationThatDoesNotExist) {
  EmbeddingScore score;
  score.has_gold = true;
  const auto figures = FiguresOf(score);
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_EQ(figures[0].name, "spearman");
  EXPECT_FALSE(figures[0].value.has_value());
}

TEST(FiguresOf, ScoresAreByTheirWidth) {
  ScoreComparison score;
  score.width = 1;
  score.difference_mean = 0.5;
  score.difference_largest = 2;
  score.rank_correlation = 0.9;
  EXPECT_EQ(FiguresOf(score)[0].name, "rank_correlation");
  score.width = 3;
  EXPECT_EQ(FiguresOf(score)[0].name, "top1");
  EXPECT_EQ(FindFigure(FiguresOf(score), "difference")->better, Better::kLower);
}

}  // namespace
}  // namespace ptq
