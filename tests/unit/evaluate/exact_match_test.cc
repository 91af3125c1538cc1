// Answers are compared as far as they are asked to be the same.
#include "ptq/evaluate/exact_match.h"

#include <string>
#include <vector>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(Normalised, LeavesOutWhatDoesNotCount) {
  EXPECT_EQ(Normalised(" A b\n", Normalisation::kNone), " A b\n");
  EXPECT_EQ(Normalised(" A b\n", Normalisation::kStrip), "A b");
  EXPECT_EQ(Normalised("The  U.S. is an ant!", Normalisation::kSquad), "us is ant");
  EXPECT_EQ(Normalised("so 12 + 3 is -1,234.50.", Normalisation::kLastNumber), "-1234.5");
  EXPECT_EQ(Normalised("18", Normalisation::kLastNumber), "18");
  EXPECT_EQ(Normalised("none", Normalisation::kLastNumber), "");
}

class GenerationsTest : public ::testing::Test {
 protected:
  /// After token i comes i + `step`, of eight.
  std::filesystem::path Counter(int64_t step) {
    testing::GraphBuilder b;
    std::vector<float> table(8 * 8, 0);
    for (int64_t i = 0; i < 8; ++i) table[size_t(i * 8 + (i + step) % 8)] = 1;
    b.Input("input_ids", {-1, -1}, DType::kInt64);
    b.Weight("table", Tensor::From<float>({8, 8}, table));
    b.Op("Gather", {"table", "input_ids"}, "logits").Output("logits", {-1, -1, 8});
    return directory_.Write("m" + std::to_string(step) + "/model.onnx", b.Bytes());
  }
  static std::string Digits(const std::vector<int64_t>& ids) {
    std::string text;
    for (const int64_t id : ids) text += std::to_string(id);
    return text;
  }
  testing::TempDirectory directory_;
};

TEST_F(GenerationsTest, CountsRightAnswersAndEqualOnes) {
  const ModelRunner model(Counter(1)), other(Counter(3));
  // The model writes 234 and 567, the reference 472 and 725.
  const std::vector<GenerationTask> tasks = {{{1}, {"x", " 234"}}, {{4}, {"725"}}, {{4}, {}}};
  const GenerationScore score =
      ScoreGenerations(model, &other, tasks, {}, {.new_tokens = 3}, Digits);
  EXPECT_EQ(score.answered, 2);
  EXPECT_EQ(score.exact_match, 0.5);
  EXPECT_EQ(score.reference_exact_match, 0.5);
  EXPECT_EQ(score.same, 0);
  EXPECT_EQ(score.agreed_tokens, 0);
  const GenerationScore self =
      ScoreGenerations(model, &model, tasks, {}, {.new_tokens = 3}, Digits);
  EXPECT_EQ(self.same, 1);
  EXPECT_FALSE(self.agreed_tokens.has_value());
}

TEST_F(GenerationsTest, EndAtAStopOrAtATokenThatEndsTexts) {
  const ModelRunner model(Counter(1));
  const std::vector<GenerationTask> tasks = {{{1}, {"23"}}};
  const auto match = [&](const GenerationLimits& limits, const GenerationOptions& options) {
    return ScoreGenerations(model, nullptr, tasks, limits, options, Digits);
  };
  EXPECT_EQ(match({}, {.new_tokens = 6}).exact_match, 0);
  EXPECT_EQ(match({}, {.new_tokens = 6, .stop = {"6", "45"}}).exact_match, 1);
  EXPECT_EQ(match({}, {.new_tokens = 6, .stop = {"45"}}).tokens, 4);
  EXPECT_EQ(match({.end_tokens = {4}}, {.new_tokens = 6}).exact_match, 1);
  EXPECT_FALSE(match({}, {}).same.has_value());
}

}  // namespace
}  // namespace ptq
