// A model whose output is not of one text is refused.
#include "ptq/evaluate/model_runner.h"

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(ModelRunner, RefusesAnOutputThatIsNotOfOneText) {
  const testing::TempDirectory directory;
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64);
  b.Weight("table", Tensor::From<float>({2, 2}, {3, 4, -3, 4}));
  b.Op("Gather", {"table", "input_ids"}, "states");
  b.Op("Transpose", {"states"}, "turned").Ints("perm", {1, 0, 2}).Output("turned", {-1, -1, 2});
  const ModelRunner model(directory.Write("model.onnx", b.Bytes()));
  EXPECT_THROW((void)model.Run({.ids = {0, 1, 1}}), UnsupportedError);
}

TEST(ModelRunner, FeedsTokensThroughTheCacheThatItWasHanded) {
  const testing::TempDirectory directory;
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("past_key_values.0.key", {-1, 1, -1, 2});
  b.Weight("table", Tensor::From<float>({2, 2}, {1, 0, 0, 10}));
  b.Weight("heads", Tensor::From<int64_t>({1}, {1}));
  b.Op("Gather", {"table", "input_ids"}, "x").Op("Unsqueeze", {"x", "heads"}, "rows");
  b.Op("Concat", {"past_key_values.0.key", "rows"}, "present.0.key").Int("axis", 2);
  b.Op("ReduceSum", {"past_key_values.0.key", "tokens"}, "sum").Int("keepdims", 0);
  b.Weight("tokens", Tensor::From<int64_t>({1}, {2}));
  b.Op("Add", {"x", "sum"}, "logits").Output("logits", {-1, -1, 2});
  b.Output("present.0.key", {-1, 1, -1, 2});
  const auto file = directory.Write("model.onnx", b.Bytes());
  const auto logits = [&](int64_t step) {
    const ModelRunner model(file, {.task = EvalTask::kLanguageModel, .step = step});
    const Tensor rows = model.Run({.ids = {0, 1, 1}});
    return std::vector<float>(rows.data<float>().begin(), rows.data<float>().end());
  };
  EXPECT_EQ(logits(0), (std::vector<float>{1, 0, 0, 10, 0, 10}));
  EXPECT_EQ(logits(1), (std::vector<float>{1, 0, 1, 10, 1, 20}));
  EXPECT_EQ(logits(2), (std::vector<float>{1, 0, 0, 10, 1, 20}));
  EXPECT_EQ(logits(9), logits(0));
}

}  // namespace
}  // namespace ptq
