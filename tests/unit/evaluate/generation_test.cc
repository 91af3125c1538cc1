// A model whose logits name the token that follows is followed, with caches and without.
#include "ptq/evaluate/generation.h"

#include <limits>
#include <vector>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Ids = std::vector<int64_t>;

/// After token i comes i + 1, by a table of logits.
testing::GraphBuilder Counter() {
  testing::GraphBuilder b;
  std::vector<float> table(8 * 8, 0);
  for (size_t i = 0; i < 8; ++i) table[i * 8 + (i + 1) % 8] = 1;
  b.Input("input_ids", {-1, -1}, DType::kInt64);
  b.Weight("table", Tensor::From<float>({8, 8}, table));
  return b;
}

class GenerateTest : public ::testing::Test {
 protected:
  std::filesystem::path Plain() {
    auto b = Counter();
    b.Op("Gather", {"table", "input_ids"}, "logits").Output("logits", {-1, -1, 8});
    return directory_.Write("plain/model.onnx", b.Bytes());
  }
  /// The same with a cache of rows; its logits count the rows of the past, too, so that a token
  /// that is read twice shows: token 7 wins behind more than four rows.
  std::filesystem::path Cached() {
    auto b = Counter();
    b.Input("past_key_values.0.key", {-1, 1, -1, 8});
    b.Weight("heads", Tensor::From<int64_t>({1}, {1}));
    b.Weight("tokens", Tensor::From<int64_t>({1}, {2}));
    b.Weight("seventh", Tensor::From<float>({8}, {0, 0, 0, 0, 0, 0, 0, 0.24F}));
    b.Weight("ones", Tensor::From<float>({8, 1}, std::vector<float>(8, 1)));
    b.Op("Gather", {"table", "input_ids"}, "x").Op("Unsqueeze", {"x", "heads"}, "rows");
    b.Op("Concat", {"past_key_values.0.key", "rows"}, "present.0.key").Int("axis", 2);
    b.Op("ReduceSum", {"present.0.key", "tokens"}, "sum").Int("keepdims", 0);
    b.Op("MatMul", {"sum", "ones"}, "count").Op("Mul", {"count", "seventh"}, "late");
    b.Op("Add", {"x", "late"}, "logits").Output("logits", {-1, -1, 8});
    b.Output("present.0.key", {-1, 1, -1, 8});
    return directory_.Write("cached/model.onnx", b.Bytes());
  }
  testing::TempDirectory directory_;
};

TEST_F(GenerateTest, FollowsTheLikeliestTokenUntilOneEndsTheText) {
  const ModelRunner model(Plain(), {.continues = true});
  EXPECT_FALSE(model.has_caches());
  GenerationLimits limits{.new_tokens = 3};
  EXPECT_EQ(Generate(model, {1, 2}, LikeliestToken, limits), (Ids{3, 4, 5}));
  limits.end_tokens = {4, 6};
  EXPECT_EQ(Generate(model, {1, 2}, LikeliestToken, limits), (Ids{3}));
  limits.end_tokens = {};
  limits.enough = [](std::span<const int64_t> ids) { return ids.back() == 4; };
  EXPECT_EQ(Generate(model, {1, 2}, LikeliestToken, limits), (Ids{3, 4}));
}

TEST_F(GenerateTest, ReadsEachTokenOnceThroughCaches) {
  const ModelRunner model(Cached(), {.continues = true});
  EXPECT_TRUE(model.has_caches());
  // Five rows have been read when 0.24 · 5 is more than 1.
  EXPECT_EQ(Generate(model, {1, 2}, LikeliestToken, {.new_tokens = 4}), (Ids{3, 4, 5, 7}));
}

TEST_F(GenerateTest, StopsAtTheEndOfTheContext) {
  const ModelRunner model(Plain(), {.continues = true});
  const GenerationLimits limits{.new_tokens = 9, .context = 4};
  EXPECT_EQ(Generate(model, {1, 2}, LikeliestToken, limits), (Ids{3, 4}));
  EXPECT_THROW((void)Generate(model, {1, 2, 3, 4}, LikeliestToken, limits), InputError);
  EXPECT_THROW((void)Generate(model, {}, LikeliestToken, limits), InputError);
}

TEST_F(GenerateTest, TakesWhatItsChooserSays) {
  const ModelRunner model(Plain());
  const auto second = [](std::span<const float> logits) {
    return (LikeliestToken(logits) + 1) % std::ssize(logits);
  };
  EXPECT_EQ(Generate(model, {0}, second, {.new_tokens = 3}), (Ids{2, 4, 6}));
  const auto outside = [](std::span<const float> logits) { return std::ssize(logits); };
  EXPECT_THROW((void)Generate(model, {0}, outside, {}), InputError);
}

TEST(LikeliestToken, IsTheFirstOfEqualOnesAndNeverOneThatIsNoNumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(LikeliestToken(std::vector<float>{nan, 2, 5, 5}), 2);
  EXPECT_THROW((void)LikeliestToken(std::vector<float>{nan, nan}), InputError);
}

TEST(ReadGenerationLimits, TakesTheMoreSpecificFileFirst) {
  const testing::TempDirectory directory;
  const auto model = directory.Write("onnx/model.onnx", "");
  EXPECT_TRUE(ReadGenerationLimits(model).end_tokens.empty());
  directory.Write("config.json", R"({"eos_token_id": 3, "n_positions": 64})");
  EXPECT_EQ(ReadGenerationLimits(model).end_tokens, (std::set<int64_t>{3}));
  directory.Write("generation_config.json", R"({"eos_token_id": [5, 9]})");
  EXPECT_EQ(ReadGenerationLimits(model).end_tokens, (std::set<int64_t>{5, 9}));
  EXPECT_EQ(ReadGenerationLimits(model).context, 64);
}

}  // namespace
}  // namespace ptq
