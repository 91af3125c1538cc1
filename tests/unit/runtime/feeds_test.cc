#include "ptq/runtime/feeds.h"

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;

TEST(Feeder, MakesTheInputsOfADecoder) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("attention_mask", {-1, -1}, DType::kInt64);
  b.Input("position_ids", {-1, -1}, DType::kInt32).Input("use_cache_branch", {1}, DType::kBool);
  b.Input("past_key_values.0.key", {-1, 4, -1, -1}, DType::kFloat16);
  b.Op("Identity", {"input_ids"}, "y").Output("y", {-1, -1}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  const Values feeds =
      Feeder(graph, {.kv_heads = 2, .head_size = 8}).Make({1, 2, 3, 4, 5, 6}, 2, 3);
  const auto at = [&](const char* name) { return feeds.at(graph.Find(name)); };
  EXPECT_EQ(at("input_ids").shape(), (Shape{2, 3}));
  EXPECT_THAT(at("input_ids").data<int64_t>(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(at("attention_mask").data<int64_t>(), ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_THAT(at("position_ids").data<int32_t>(), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_FALSE(at("use_cache_branch").data<bool>()[0]);
  EXPECT_EQ(at("past_key_values.0.key").shape(), (Shape{2, 4, 0, 8}));
}

TEST(Feeder, KeepsWhatTheModelFixes) {
  GraphBuilder b;
  b.Input("input_ids", {2, 3}, DType::kInt64).Input("attention_mask", {2, 5}, DType::kInt64);
  b.Input("past_key_values.0.key", {2, 4, 2, 8}).Input("position_ids", {1, 3}, DType::kInt64);
  b.Input("decoder_input_ids", {2, 4}, DType::kInt64);
  b.Op("Identity", {"input_ids"}, "y").Output("y", {2, 3}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  const TokenShape fixed = FixedTokenShape(graph);
  EXPECT_EQ(fixed.batch, 2);
  EXPECT_EQ(fixed.length, 3);
  const Values feeds = Feeder(graph, {}).Make({1, 2, 3, 4, 5, 6}, 2, 3);
  const auto at = [&](const char* name) { return feeds.at(graph.Find(name)); };
  EXPECT_THAT(at("attention_mask").data<int64_t>(),
              ElementsAre(0, 0, 1, 1, 1, 0, 0, 1, 1, 1));  // the cache is hidden
  EXPECT_EQ(at("past_key_values.0.key").shape(), (Shape{2, 4, 2, 8}));
  EXPECT_THAT(at("position_ids").data<int64_t>(), ElementsAre(0, 1, 2));
  EXPECT_THAT(at("decoder_input_ids").data<int64_t>(), ElementsAre(1, 2, 3, 1, 4, 5, 6, 4));
}

TEST(Feeder, KnowsTokenIdsOfAnyNameByTheirUse) {
  GraphBuilder b;
  b.Input("tokens", {-1, -1}, DType::kInt64).Input("bbox", {-1, -1, 4}, DType::kInt64);
  b.Random("table", {5, 2});
  b.Op("Gather", {"table", "tokens"}, "y").Output("y", {-1, -1, 2});
  const Model model = b.Build();
  const Graph graph(model);
  const Values feeds = Feeder(graph, {}).Make({1, 2, 3, 4}, 1, 4);
  EXPECT_THAT(feeds.at(graph.Find("tokens")).data<int64_t>(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(feeds.at(graph.Find("bbox")).shape(), (Shape{1, 4, 4}));
}

TEST(Feeder, MakesMasksOfFloats) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("attention_mask", {-1, -1});
  b.Op("Relu", {"attention_mask"}, "y").Output("y", {-1, -1});
  const Model model = b.Build();
  const Graph graph(model);
  const Values feeds = Feeder(graph, {}).Make({1, 2}, 1, 2);
  EXPECT_THAT(feeds.at(graph.Find("attention_mask")).data<float>(), ElementsAre(1, 1));
}

TEST(Feeder, TakesPastValuesOfASeriesForNoCache) {
  GraphBuilder b;
  b.Input("past_values", {-1, 32, 3}).Op("Relu", {"past_values"}, "y").Output("y", {-1, 32, 3});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THROW(Feeder(graph, {}), UnsupportedError);
}

TEST(Feeder, RefusesAnInputThatIdsDoNotTell) {
  GraphBuilder b;
  b.Input("pixel_values", {1, 3}).Op("Relu", {"pixel_values"}, "y").Output("y", {1, 3});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_THROW(Feeder(graph, {}), UnsupportedError);
}

TEST(FeedHints, AreReadFromEitherConfiguration) {
  const testing::TempDirectory directory;
  directory.Write("a/config.json", R"({"hidden_size": 64, "num_attention_heads": 4})");
  directory.Write("b/genai_config.json", R"({"model": {"decoder": {"num_attention_heads": 8,
      "num_key_value_heads": 2, "head_size": 16}}})");
  directory.Write("c/config.json", "no json");
  EXPECT_EQ(ReadFeedHints(directory.path() / "a").kv_heads, 4);
  EXPECT_EQ(ReadFeedHints(directory.path() / "a").head_size, 16);
  EXPECT_EQ(ReadFeedHints(directory.path() / "b").kv_heads, 2);
  EXPECT_EQ(ReadFeedHints(directory.path() / "b").head_size, 16);
  EXPECT_EQ(ReadFeedHints(directory.path() / "c").head_size, 0);
  EXPECT_EQ(ReadFeedHints(directory.path() / "none").kv_heads, 0);
}

}  // namespace
}  // namespace ptq
