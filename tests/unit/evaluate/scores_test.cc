// Differences, ranks and preferred classes of models that look their scores up in a table.
#include "ptq/evaluate/scores.h"

#include <limits>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// A model whose output for a text of one token is that token's row of the table.
class TableModel {
 public:
  explicit TableModel(const Tensor& table) {
    testing::GraphBuilder b;
    b.Input("input_ids", {-1, -1}, DType::kInt64).Weight("table", table);
    b.Op("Gather", {"table", "input_ids"}, "states");
    b.Op("ReduceMax", {"states"}, "logits").Ints("axes", {1}).Int("keepdims", 0);
    b.Output("logits", {-1, table.dim(1)});
    model_.emplace(directory_.Write("model.onnx", b.Bytes()),
                   RunnerOptions{.task = EvalTask::kScore});
  }
  [[nodiscard]] const ModelRunner& model() const { return *model_; }

 private:
  testing::TempDirectory directory_;
  std::optional<ModelRunner> model_;
};

const std::vector<TokenizedText> kTexts = {{.ids = {0}}, {.ids = {1}}, {.ids = {2}}};

TEST(CompareScores, GivesDifferencesAndRanksOfSingleNumbers) {
  const TableModel own(Tensor::From<float>({3, 1}, {1, 2, 3}));
  const TableModel other(Tensor::From<float>({3, 1}, {1, 4, 3.5}));
  const ScoreComparison found = CompareScores(own.model(), &other.model(), kTexts, {});
  EXPECT_EQ(found.width, 1);
  EXPECT_NEAR(*found.difference_mean, 2.5 / 3, 1e-12);
  EXPECT_NEAR(*found.difference_largest, 2, 1e-12);
  // Of 1, 4, 3.5: the mean is 17 / 6, the variance 289 / 36 less than the mean of the squares.
  EXPECT_NEAR(*found.reference_spread, std::sqrt((1 + 16 + 12.25) / 3 - 289.0 / 36), 1e-12);
  EXPECT_DOUBLE_EQ(*found.rank_correlation, 0.5);
  EXPECT_FALSE(found.top1_agreement.has_value());
}

TEST(CompareScores, CorrelatesWithGoldScores) {
  const TableModel own(Tensor::From<float>({3, 1}, {-5, 2, 9}));
  const TableModel other(Tensor::From<float>({3, 1}, {9, 2, -5}));
  const std::vector<double> gold = {0, 1, 2};
  const ScoreComparison found = CompareScores(own.model(), &other.model(), kTexts, {.gold = gold});
  EXPECT_DOUBLE_EQ(*found.spearman, 1);
  EXPECT_DOUBLE_EQ(*found.reference_spearman, -1);
  EXPECT_FALSE(
      CompareScores(own.model(), nullptr, kTexts, {.gold = gold}).difference_mean.has_value());
}

TEST(CompareScores, CountsTheClassesThatBothPrefer) {
  const TableModel own(Tensor::From<float>({3, 2}, {1, 2, 3, 0, 5, 6}));
  const TableModel other(Tensor::From<float>({3, 2}, {1, 2, 3, 4, 5, 6}));
  const ScoreComparison found = CompareScores(own.model(), &other.model(), kTexts, {});
  EXPECT_EQ(found.width, 2);
  EXPECT_NEAR(*found.top1_agreement, 2.0 / 3, 1e-12);
  EXPECT_NEAR(*found.difference_mean, 4.0 / 6, 1e-12);
  EXPECT_FALSE(found.rank_correlation.has_value());
}

TEST(CompareScores, RefusesWhatCannotBeCompared) {
  const TableModel one(Tensor::From<float>({3, 1}, {1, 2, 3}));
  const TableModel two(Tensor::From<float>({3, 2}, {1, 2, 3, 4, 5, 6}));
  const TableModel bad(Tensor::From<float>({3, 1}, {1, std::numeric_limits<float>::infinity(), 3}));
  EXPECT_THROW((void)CompareScores(one.model(), &two.model(), kTexts, {}), InputError);
  EXPECT_THROW((void)CompareScores(two.model(), nullptr, kTexts, ScoreTruth{.gold = {1, 2, 3}}),
               InputError);
  EXPECT_THROW((void)CompareScores(bad.model(), nullptr, kTexts, {}), InputError);
}

TEST(CompareScores, CountsTextsOfTheRightClass) {
  const TableModel own(Tensor::From<float>({3, 2}, {1, 0, 0, 1, 5, 4}));
  const TableModel other(Tensor::From<float>({3, 2}, {0, 1, 0, 1, 3, 4}));
  const ScoreTruth truth{.labels = {0, 1, 1}};
  const ScoreComparison found = CompareScores(own.model(), &other.model(), kTexts, truth);
  EXPECT_NEAR(*found.accuracy, 2.0 / 3, 1e-12);
  EXPECT_NEAR(*found.reference_accuracy, 2.0 / 3, 1e-12);
  EXPECT_THROW((void)CompareScores(own.model(), nullptr, kTexts, {.labels = {0, 1, 2}}),
               InputError);
}

TEST(CompareScores, RanksDocumentsByTheOnlyScoreOrByTheSecondLessTheFirst) {
  ScoreTruth truth;
  truth.retrieval = RetrievalSet{1, 3, {{1}}, {{0, 1, 2}}};
  const TableModel single(Tensor::From<float>({3, 1}, {5, 3, 1}));
  EXPECT_EQ(CompareScores(single.model(), nullptr, kTexts, truth).retrieval->own.mrr, 0.5);
  const TableModel two(Tensor::From<float>({3, 2}, {5, 3, 1, 9, 0, 1}));
  EXPECT_EQ(CompareScores(two.model(), nullptr, kTexts, truth).retrieval->own.mrr, 1);
}

}  // namespace
}  // namespace ptq
