// Perplexity and KL divergence of logits for which the definitions give both.
#include "ptq/evaluate/language_model.h"

#include <cmath>
#include <vector>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(ScoreLogits, GivesTheVocabularySizeForUniformLogits) {
  const std::vector<float> logits(2 * 8, 0.5f);
  const auto score = ScoreLogits(logits, {}, std::vector<int64_t>{7, 0});
  EXPECT_EQ(score.tokens, 2);
  EXPECT_NEAR(score.Perplexity(), 8.0, 1e-12);
  EXPECT_FALSE(score.compared);
}

TEST(ScoreLogits, ComparesDistributionsAsTheDefinitionSays) {
  // p = (1/4, 3/4) is the reference, q = (1/2, 1/2) the model; token 1 follows.
  const std::vector<float> q = {0, 0};
  const std::vector<float> p = {0, std::log(3.0f)};
  const auto score = ScoreLogits(q, p, std::vector<int64_t>{1});
  EXPECT_NEAR(score.nll, std::log(2.0), 1e-6);
  EXPECT_NEAR(score.MeanKl(), 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-6);
  EXPECT_EQ(score.same_top, 0);
}

TEST(ScoreLogits, IsAtZeroDistanceFromItself) {
  const std::vector<float> x = {1, -2, 3, 1000, 0, -1000};
  const auto score = ScoreLogits(x, x, std::vector<int64_t>{0, 2});
  EXPECT_EQ(score.kl, 0);
  EXPECT_EQ(score.TopAgreement(), 1);
}

TEST(ScoreLogits, DoesNotOverflow) {
  const std::vector<float> logits = {3e38f, -3e38f};
  EXPECT_EQ(ScoreLogits(logits, {}, std::vector<int64_t>{0}).nll, 0);
}

TEST(ScoreLogits, RefusesOtherVocabulariesAndIdsOutsideThem) {
  const std::vector<float> logits(8, 0);
  const std::vector<int64_t> ids = {0, 1};
  EXPECT_THROW((void)ScoreLogits(logits, std::vector<float>(6, 0), ids), InputError);
  EXPECT_THROW((void)ScoreLogits(logits, {}, std::vector<int64_t>{0, 4}), InputError);
  EXPECT_THROW((void)ScoreLogits(logits, {}, std::vector<int64_t>{0, -1}), InputError);
}

TEST(LanguageModelScore, MergesSums) {
  LanguageModelScore a{.tokens = 1, .nll = std::log(2.0)};
  a.Merge({.tokens = 3, .nll = 3 * std::log(2.0)});
  EXPECT_EQ(a.tokens, 4);
  EXPECT_NEAR(a.Perplexity(), 2.0, 1e-12);
}

TEST(Evaluate, FindsAModelEqualToItself) {
  const testing::TempDirectory directory;
  const ModelRunner model(directory.Write("model.onnx", testing::ToyDecoder(1).Bytes()));
  const auto score =
      Evaluate(model, &model, {{.ids = {1, 2, 3, 4}}, {.ids = {9, 8}}, {.ids = {5}}});
  EXPECT_EQ(score.tokens, 4);
  EXPECT_EQ(score.kl, 0);
  EXPECT_EQ(score.same_top, 4);
  EXPECT_GT(score.Perplexity(), 1);
}

}  // namespace
}  // namespace ptq
