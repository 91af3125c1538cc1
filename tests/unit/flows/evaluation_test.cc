// What a model is judged by, and which texts it cannot be judged by.
#include "ptq/flows/evaluation.h"

#include <cmath>
#include <variant>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

class EvaluationTest : public ::testing::Test {
 protected:
  EvaluationTest() {
    request_.text = directory_.path() / "ids.npz";
    WriteNpz(request_.text,
             {{"input_ids", Tensor::From<int64_t>({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8})}});
  }

  /// Ids to states of width 2, from a table with one row for each id.
  [[nodiscard]] static testing::GraphBuilder Encoder() {
    testing::GraphBuilder b;
    b.Input("input_ids", {-1, -1}, DType::kInt64).Random("table", {16, 2});
    b.Op("Gather", {"table", "input_ids"}, "last_hidden_state");
    b.Output("last_hidden_state", {-1, -1, 2});
    return b;
  }

  testing::TempDirectory directory_;
  EvaluationRequest request_;
};

TEST_F(EvaluationTest, JudgesALanguageModelByEachNextToken) {
  request_.source = directory_.Write("m/model.onnx", testing::ToyDecoder(1).Bytes());
  const Evaluation found = EvaluateModel(request_);
  EXPECT_EQ(found.subject.texts, 2u);
  EXPECT_EQ(found.subject.output, "logits");
  EXPECT_FALSE(found.subject.compared);
  const auto& score = std::get<LanguageModelScore>(found.score);
  EXPECT_EQ(score.tokens, 6);
  EXPECT_TRUE(std::isfinite(score.Perplexity()) && score.Perplexity() > 1);
}

TEST_F(EvaluationTest, CutsTextsToTheLengthAskedFor) {
  request_.source = directory_.Write("m/model.onnx", testing::ToyDecoder(1).Bytes());
  request_.seq_len = 3;
  EXPECT_EQ(std::get<LanguageModelScore>(EvaluateModel(request_).score).tokens, 4);
  request_.seq_len = 1;
  EXPECT_THROW((void)EvaluateModel(request_), InputError);
}

TEST_F(EvaluationTest, MovesWindowsOnOverLongTexts) {
  request_.source = directory_.Write("m/model.onnx", testing::ToyDecoder(1).Bytes());
  request_.seq_len = 3;
  request_.stride = 1;
  // Of each text of four tokens the first three, then one more.
  const Evaluation found = EvaluateModel(request_);
  EXPECT_EQ(found.subject.texts, 2u);
  EXPECT_EQ(found.subject.windows, 4u);
  EXPECT_EQ(std::get<LanguageModelScore>(found.score).tokens, 6);
  request_.stride = 4;
  EXPECT_THROW((void)EvaluateModel(request_), UsageError);
}

TEST_F(EvaluationTest, SaysWhatWasCut) {
  request_.source = directory_.Write("m/model.onnx", testing::ToyDecoder(1).Bytes());
  request_.seq_len = 3;
  const Evaluation found = EvaluateModel(request_);
  EXPECT_EQ(found.subject.cut.texts, 2);
  EXPECT_EQ(found.subject.cut.tokens, 2);
  EXPECT_EQ(found.subject.windows, 0u);
}

TEST_F(EvaluationTest, JudgesEachModelOfADirectory) {
  directory_.Write("m/text_model.onnx", Encoder().Bytes());
  testing::GraphBuilder images;
  images.Input("pixel_values", {-1, 4});
  images.Op("Relu", {"pixel_values"}, "image_embeds").Output("image_embeds", {-1, 4});
  directory_.Write("m/vision_model.onnx", images.Bytes());
  request_.source = request_.reference = directory_.path() / "m";
  const Evaluation found = EvaluateModel(request_);
  ASSERT_EQ(found.parts.size(), 2u);
  EXPECT_EQ(found.parts[0].file, "text_model.onnx");
  EXPECT_EQ(found.parts[0].note, "");
  EXPECT_NE(found.parts[1].note.find("pixel_values"), std::string::npos);
  EXPECT_NEAR(*FindFigure(FiguresOf(found), "cosine")->value, 1, 1e-6);
  request_.reference.clear();
  EXPECT_THROW((void)EvaluateModel(request_), UnsupportedError);
}

TEST_F(EvaluationTest, RefusesWhatIsForLanguageModels) {
  request_.source = request_.reference = directory_.Write("m/model.onnx", Encoder().Bytes());
  request_.stride = 2;
  EXPECT_THROW((void)EvaluateModel(request_), UsageError);
  request_.stride = 0;
  request_.task_file = request_.text;
  EXPECT_THROW((void)EvaluateModel(request_), UsageError);  // two evaluations
  request_.text.clear();
  EXPECT_THROW((void)EvaluateModel(request_), UsageError);
}

TEST_F(EvaluationTest, ComparesEmbeddingsWithThoseOfTheReference) {
  request_.source = request_.reference = directory_.Write("m/model.onnx", Encoder().Bytes());
  const Evaluation found = EvaluateModel(request_);
  EXPECT_TRUE(found.subject.compared);
  EXPECT_NE(found.subject.pooling, "");
  EXPECT_TRUE(std::holds_alternative<EmbeddingScore>(found.score));
}

TEST_F(EvaluationTest, RefusesSingleTextsForAnEncoderWithoutReference) {
  request_.source = directory_.Write("m/model.onnx", Encoder().Bytes());
  EXPECT_THROW((void)EvaluateModel(request_), UsageError);
}

}  // namespace
}  // namespace ptq
