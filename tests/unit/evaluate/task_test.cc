// Which output a model is judged by, and as what.
#include "ptq/evaluate/task.h"

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Ids [B, T] to an output [B, T, `width`] of a name, with a table of 96 rows.
testing::GraphBuilder Tokens(const std::string& name, int64_t width) {
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Random("table", {96, width});
  b.Op("Gather", {"table", "input_ids"}, name).Output(name, {-1, -1, width});
  return b;
}

EvalOutput Chosen(const testing::GraphBuilder& builder, EvalTask task = EvalTask::kAuto) {
  const Model model = builder.Build();
  return ChooseOutput(Graph(model), task);
}

/// An output and its declared shape.
using Output = std::pair<std::string, Shape>;

/// The task and the name of the output that is chosen of these.
std::pair<EvalTask, std::string> ChosenOf(const std::vector<Output>& outputs,
                                          const std::string& name = "", bool by_token = false,
                                          EvalTask task = EvalTask::kAuto) {
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Random("table", {96, 32});
  b.Op("Gather", {"table", "input_ids"}, "states");
  for (const auto& [output, shape] : outputs)
    b.Op("Relu", {"states"}, output).Output(output, shape);
  const Model model = b.Build();
  const Graph graph(model);
  const EvalOutput chosen = ChooseOutput(graph, task, name, by_token);
  return {chosen.task, graph.value(chosen.value).name};
}

const Output kStatesOutput = {"last_hidden_state", {-1, -1, 32}};
const Output kPooler = {"pooler_output", {-1, 32}};
const Output kSentence = {"sentence_embedding", {-1, 32}};

TEST(LogitsOutput, PrefersTheName) {
  const Model model = testing::ToyDecoder(1).Output("b0_h", {-1, -1, 32}).Build();
  const Graph graph(model);
  EXPECT_EQ(LogitsOutput(graph), graph.Find("logits"));
}

TEST(LogitsOutput, RefusesAModelWithoutAny) {
  testing::GraphBuilder b;
  b.Input("x", {2, 3}).Op("Relu", {"x"}, "y").Output("y", {2, 3});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THROW((void)LogitsOutput(graph), UnsupportedError);
}

TEST(ChooseOutput, TakesLogitsOverTheVocabularyForALanguageModel) {
  EXPECT_EQ(Chosen(testing::ToyDecoder(1)).task, EvalTask::kLanguageModel);
  EXPECT_EQ(Chosen(Tokens("scores", 96)).task, EvalTask::kLanguageModel);
  EXPECT_EQ(Chosen(Tokens("logits", 64)).task, EvalTask::kLanguageModel);
}

TEST(ChooseOutput, TakesAnythingElseForAnEncoder) {
  EXPECT_EQ(Chosen(Tokens("last_hidden_state", 32)).task, EvalTask::kEmbedding);
  EXPECT_EQ(Chosen(Tokens("anything", 9)).task, EvalTask::kEmbedding);
}

TEST(ChooseOutput, FollowsTheTaskThatIsAskedFor) {
  EXPECT_EQ(Chosen(testing::ToyDecoder(1), EvalTask::kEmbedding).task, EvalTask::kEmbedding);
  EXPECT_EQ(Chosen(Tokens("states", 32), EvalTask::kLanguageModel).task, EvalTask::kLanguageModel);
}

using Choice = std::pair<EvalTask, std::string>;

TEST(ChooseOutput, TakesTheEmbeddingOfATextThatUsersConsume) {
  const auto embeds = [](const char* name) { return Choice{EvalTask::kEmbedding, name}; };
  EXPECT_EQ(ChosenOf({kStatesOutput, kSentence}), embeds("sentence_embedding"));
  EXPECT_EQ(ChosenOf({kPooler, {"text_embeds", {-1, 32}}, kStatesOutput}), embeds("text_embeds"));
  EXPECT_EQ(ChosenOf({kPooler, kStatesOutput}), embeds("last_hidden_state"));
  EXPECT_EQ(ChosenOf({kPooler}), embeds("pooler_output"));
  EXPECT_EQ(ChosenOf({kSentence, kStatesOutput}, "", /*by_token=*/true, EvalTask::kEmbedding),
            embeds("last_hidden_state"));
}

TEST(ChooseOutput, TakesOtherLogitsAndSingleNumbersForScores) {
  const auto scores = [](const char* name) { return Choice{EvalTask::kScore, name}; };
  EXPECT_EQ(ChosenOf({{"logits", {-1, 1}}}), scores("logits"));
  EXPECT_EQ(ChosenOf({{"logits", {-1, -1, 9}}, kStatesOutput}), scores("logits"));
  EXPECT_EQ(ChosenOf({{"score", {-1, 1}}}), scores("score"));
  EXPECT_EQ(ChosenOf({{"score", {-1}}}), scores("score"));
  EXPECT_EQ(ChosenOf({{"score", {-1, 5}}}, "", false, EvalTask::kScore), scores("score"));
}

TEST(ChooseOutput, TakesTheOutputOfThatName) {
  EXPECT_EQ(ChosenOf({kStatesOutput, kPooler, kSentence}, "pooler_output"),
            (Choice{EvalTask::kEmbedding, "pooler_output"}));
  EXPECT_EQ(ChosenOf({kSentence, {"logits", {-1, 2}}}, "logits"),
            (Choice{EvalTask::kScore, "logits"}));
  EXPECT_THROW((void)ChosenOf({kStatesOutput, kPooler}, "pooled"), UsageError);
}

TEST(ChooseOutput, JudgesAnEncoderByItsFirstOutput) {
  const Model model =
      Tokens("states", 32).Op("Relu", {"states"}, "more").Output("more", {-1, -1, 32}).Build();
  const Graph graph(model);
  EXPECT_EQ(ChooseOutput(graph, EvalTask::kAuto).value, graph.Find("states"));
}

TEST(ChooseOutput, RefusesOutputsThatAreNeither) {
  testing::GraphBuilder integers;
  integers.Input("x", {2, 3}, DType::kInt64)
      .Op("Neg", {"x"}, "y")
      .Output("y", {2, 3}, DType::kInt64);
  EXPECT_THROW((void)Chosen(integers), UnsupportedError);
  testing::GraphBuilder images;
  images.Input("x", {1, 3, 8, 8}).Op("Relu", {"x"}, "y").Output("y", {1, 3, 8, 8});
  EXPECT_THROW((void)Chosen(images), UnsupportedError);
}

}  // namespace
}  // namespace ptq
