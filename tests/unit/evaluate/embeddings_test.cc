// Cosines and correlations of vectors at known angles, and the embeddings of small models.
#include "ptq/evaluate/embeddings.h"

#include <cmath>
#include <limits>
#include <vector>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Floats = std::vector<float>;

Embeddings Made(int64_t width, Floats values) { return {width, std::move(values)}; }

/// The vector of length 1 at an angle to the first axis.
void Append(Embeddings& embeddings, double degrees) {
  const double angle = degrees * std::acos(-1.0) / 180;
  embeddings.width = 2;
  embeddings.values.push_back(float(std::cos(angle)));
  embeddings.values.push_back(float(std::sin(angle)));
}

Embeddings AtAngles(std::initializer_list<double> degrees) {
  Embeddings embeddings;
  for (const double angle : degrees) Append(embeddings, angle);
  return embeddings;
}

using Doubles = std::vector<double>;

TEST(NormalizeInto, DividesByTheLength) {
  Floats result(2);
  ASSERT_TRUE(NormalizeInto(Doubles{3, -4}, result));
  EXPECT_EQ(result, (Floats{0.6f, -0.8f}));
}

TEST(NormalizeInto, NeitherOverflowsNorUnderflows) {
  Floats result(2);
  ASSERT_TRUE(NormalizeInto(Doubles{6e38, 6e38}, result));
  EXPECT_FLOAT_EQ(result[0], std::sqrt(0.5f));
  ASSERT_TRUE(NormalizeInto(Doubles{1e-30, 0}, result));
  EXPECT_EQ(result, (Floats{1, 0}));
}

TEST(NormalizeInto, RefusesWhatHasNoDirection) {
  Floats result(2);
  EXPECT_FALSE(NormalizeInto(Doubles{0, 0}, result));
  EXPECT_FALSE(NormalizeInto(Doubles{1, std::nan("")}, result));
  EXPECT_FALSE(NormalizeInto(Doubles{1, std::numeric_limits<double>::infinity()}, result));
}

TEST(ScoreEmbeddings, GivesTheMeanAndTheLeastCosine) {
  const Embeddings model = AtAngles({0, 60, 180});
  const Embeddings reference = AtAngles({0, 0, 90});
  const auto score = ScoreEmbeddings(model, &reference, {});
  EXPECT_NEAR(*score.cosine_mean, 0.5, 1e-7);
  EXPECT_NEAR(*score.cosine_least, 0, 1e-7);
  EXPECT_FALSE(score.top10_overlap.has_value());
  EXPECT_FALSE(score.spearman.has_value());
}

TEST(ScoreEmbeddings, CorrelatesTheSimilarityOfPairsWithTheirGoldScores) {
  // Pairs at 10, 40 and 80 degrees in the model; at 10, 80 and 40 in the reference.
  const Embeddings model = AtAngles({0, 0, 0, 10, 40, 80});
  const Embeddings reference = AtAngles({0, 0, 0, 10, 80, 40});
  const std::vector<double> gold = {5, 3, 1};
  const auto score = ScoreEmbeddings(model, &reference, gold);
  EXPECT_DOUBLE_EQ(*score.spearman, 1);
  EXPECT_DOUBLE_EQ(*score.reference_spearman, 0.5);
  const auto alone = ScoreEmbeddings(model, nullptr, gold);
  EXPECT_DOUBLE_EQ(*alone.spearman, 1);
  EXPECT_FALSE(alone.cosine_mean.has_value());
  EXPECT_FALSE(alone.reference_spearman.has_value());
}

TEST(ScoreEmbeddings, HasNoCorrelationWithConstantScores) {
  const Embeddings model = AtAngles({0, 0, 10, 40});
  EXPECT_FALSE(ScoreEmbeddings(model, nullptr, std::vector<double>{2, 2}).spearman.has_value());
}

TEST(ScoreEmbeddings, RefusesOtherWidths) {
  const Embeddings a = Made(2, {1, 0});
  const Embeddings b = Made(3, {1, 0, 0});
  EXPECT_THROW((void)ScoreEmbeddings(a, &b, {}), InputError);
}

/// Ids [B, T] to the rows of a table [96, 4] that they name.
testing::GraphBuilder Lookup(const Tensor& table) {
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Weight("table", table);
  b.Op("Gather", {"table", "input_ids"}, "last_hidden_state");
  b.Output("last_hidden_state", {-1, -1, table.dim(1)});
  return b;
}

TEST(Embed, PoolsTheOutputOfEveryTextInOrder) {
  const testing::TempDirectory directory;
  const Tensor table = Tensor::From<float>({3, 2}, {2, 0, 0, 2, 0, -4});
  const ModelRunner model(directory.Write("model.onnx", Lookup(table).Bytes()));
  ASSERT_EQ(model.task(), EvalTask::kEmbedding);
  std::vector<TokenizedText> texts(20, {.ids = {0}});
  texts[1].ids = {0, 1};
  texts[19].ids = {2, 2, 2};
  const Embeddings found = Embed(model, SentenceModules(Pooling::kMean), texts);
  EXPECT_EQ(found.width, 2);
  EXPECT_EQ(found.count(), 20);
  EXPECT_FLOAT_EQ(found.row(0)[0], 1);
  EXPECT_FLOAT_EQ(found.row(1)[0], std::sqrt(0.5f));
  EXPECT_FLOAT_EQ(found.row(1)[1], std::sqrt(0.5f));
  EXPECT_FLOAT_EQ(found.row(19)[1], -1);
}

TEST(Embed, TakesTheVectorThatTheModelMakesOfAText) {
  const testing::TempDirectory directory;
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64);
  b.Weight("table", Tensor::From<float>({2, 2}, {3, 4, -3, 4}));
  b.Op("Gather", {"table", "input_ids"}, "states");
  b.Op("ReduceMax", {"states"}, "sentence_embedding").Ints("axes", {1}).Int("keepdims", 0);
  b.Output("sentence_embedding", {-1, 2});
  const ModelRunner model(directory.Write("model.onnx", b.Bytes()));
  const Embeddings found =
      Embed(model, SentenceModules(Pooling::kMean), {{.ids = {1}}, {.ids = {0, 1}}});
  EXPECT_FLOAT_EQ(found.row(0)[0], -0.6f);
  EXPECT_FLOAT_EQ(found.row(1)[0], 0.6f);
}

TEST(Embed, NamesATextWithoutADirection) {
  const testing::TempDirectory directory;
  const Tensor table = Tensor::From<float>({2, 2}, {1, 0, 0, 0});
  const ModelRunner model(directory.Write("model.onnx", Lookup(table).Bytes()));
  try {
    (void)Embed(model, SentenceModules(Pooling::kMean), {{.ids = {0}}, {.ids = {1, 1}}});
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("embedding of text 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace ptq
