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
