// Which sample a result is verified with.
#include "witness_sample.h"

#include <numeric>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(WitnessSample, IsTheBeginningOfTheLongest) {
  std::vector<int64_t> longest(100);
  std::iota(longest.begin(), longest.end(), 7);
  const std::vector<std::vector<int64_t>> samples = {{1, 2, 3}, longest, {4}};
  const TokenBlock block = BeginningOfLongest(samples);
  EXPECT_EQ(block.batch, 1);
  EXPECT_EQ(block.length, 64);
  EXPECT_EQ(block.ids, std::vector<int64_t>(longest.begin(), longest.begin() + 64));
}

TEST(WitnessSample, IsCutOrRepeatedToAFixedShape) {
  const TokenBlock block = {1, 3, {1, 2, 3}, {}};
  EXPECT_THAT(Fitted(block, {}).ids, ElementsAre(1, 2, 3));
  EXPECT_THAT(Fitted(block, {0, 2}).ids, ElementsAre(1, 2));
  const TokenBlock rows = Fitted(block, {2, 4});
  EXPECT_THAT(rows.ids, ElementsAre(1, 2, 3, 1, 1, 2, 3, 1));
  EXPECT_EQ(rows.batch, 2);
  EXPECT_EQ(rows.length, 4);
}

TEST(WitnessSample, StaysWithinTheVocabularyWhenItIsMadeUp) {
  EXPECT_THAT(AnySample(5).ids, ::testing::Each(::testing::Lt(5)));
  EXPECT_EQ(AnySample(0).ids.size(), 16u);
}

TEST(WitnessSample, BecomesTheModelsInputs) {
  const testing::TempDirectory directory;
  auto builder = testing::ToyDecoder(1);
  const Source source(directory.Write("model.onnx", builder.Bytes()));
  const Values inputs = WitnessInputs(source, nullptr, {});
  ASSERT_EQ(inputs.size(), 1u);
  EXPECT_EQ(inputs.at(source.graph.Find("input_ids")).shape(), (Shape{1, 16}));
  builder.Input("nobody_knows_it", {-1, 5});
  const Source other(directory.Write("other.onnx", builder.Bytes()));
  EXPECT_THROW((void)WitnessInputs(other, nullptr, {}), UnsupportedError);
}

}  // namespace
}  // namespace ptq
