// Which inputs are made of token ids, and with what shapes and values.
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

/// A decoder's inputs; its output is of that name.
GraphBuilder Continued(const std::string& present) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("attention_mask", {-1, -1}, DType::kInt64);
  b.Input("position_ids", {-1, -1}, DType::kInt32).Input("use_cache_branch", {1}, DType::kBool);
  b.Input("past_key_values.0.key", {-1, 1, -1, 2}, DType::kInt8);
  b.Op("Identity", {"past_key_values.0.key"}, present).Output(present, {-1, 1, -1, 2});
  return b;
}

TEST(Feeder, GoesOnBehindWhatTheModelHasHandedOut) {
  const Model model = Continued("present.0.key").Build();
  const Graph graph(model);
  const auto found = Continuations(graph);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(graph.value(found[0].present).name, "present.0.key");
  const Feeder feeder(graph, {});
  const Tensor rows(DType::kInt8, {1, 1, 3, 2});
  const Values next = feeder.MakeNext({7, 8}, 3, {{found[0].past, rows}});
  const auto at = [&](const char* name) { return next.at(graph.Find(name)); };
  EXPECT_THAT(at("attention_mask").data<int64_t>(), ElementsAre(1, 1, 1, 1, 1));
  EXPECT_THAT(at("position_ids").data<int32_t>(), ElementsAre(3, 4));
  EXPECT_TRUE(at("use_cache_branch").data<bool>()[0]);
  EXPECT_EQ(at("past_key_values.0.key").shape(), (Shape{1, 1, 3, 2}));
  const Values first = feeder.MakeNext({7, 8}, 0, {});
  EXPECT_FALSE(first.at(graph.Find("use_cache_branch")).data<bool>()[0]);
  EXPECT_EQ(first.at(found[0].past).dim(2), 0);
}

TEST(Feeder, KnowsWhatStatesAreCalledWhenTheyAreHandedOut) {
  const auto present_of = [](const std::string& past, const std::string& present) {
    GraphBuilder b;
    b.Input("input_ids", {-1, -1}, DType::kInt64).Input(past, {-1, 4, 3});
    b.Input("num_logits_to_keep", {}, DType::kInt64).Input("inputs_embeds", {-1, -1, 4});
    b.Op("Identity", {past}, present).Output(present, {-1, 4, 3});
    const Model model = b.Build();
    const Graph graph(model);
    return graph.value(Continuations(graph)[0].present).name;
  };
  EXPECT_EQ(present_of("past_conv.0", "present_conv.0"), "present_conv.0");
  EXPECT_EQ(present_of("cache_conv_0", "new_cache_conv_0"), "new_cache_conv_0");
  EXPECT_EQ(present_of("wkv_state_0", "wkv_state_0_out"), "wkv_state_0_out");
  EXPECT_EQ(present_of("ssm_state_in", "ssm_state_out"), "ssm_state_out");
}

TEST(Feeder, RefusesToGoOnWhereNothingIsHandedOut) {
  const Model other = Continued("cache").Build();
  EXPECT_THROW((void)Continuations(Graph(other)), UnsupportedError);
  GraphBuilder fixed = Continued("present.0.key");
  fixed.Input("other_mask", {1, 1, -1, -1}, DType::kInt64);
  const Model masked = fixed.Build();
  EXPECT_THROW((void)Continuations(Graph(masked)), UnsupportedError);
  const Model plain = testing::ToyDecoder(1).Build();
  EXPECT_THROW((void)Continuations(Graph(plain)), UnsupportedError);
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

TEST(Feeder, MakesEmptyCachesOfAnyLayout) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64);
  b.Input("past_keys", {3, -1, 4, -1, 16}).Input("past_values", {3, -1, 4, -1, 16});
  b.Input("past_0", {2, -1, 4, -1, 8})
      .Input("past_key_1", {1, 2, -1, 4})
      .Input("past_key_2", {-1, 4, 8, -1});
  b.Op("Identity", {"input_ids"}, "y").Output("y", {-1, -1}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  const Values feeds = Feeder(graph, {}).Make({1, 2, 3, 4, 5, 6}, 2, 3);
  const auto shape = [&](const char* name) { return feeds.at(graph.Find(name)).shape(); };
  EXPECT_EQ(shape("past_keys"), (Shape{3, 2, 4, 0, 16}));  // the layers stay
  EXPECT_EQ(shape("past_values"), (Shape{3, 2, 4, 0, 16}));
  EXPECT_EQ(shape("past_0"), (Shape{2, 2, 4, 0, 8}));
  EXPECT_EQ(shape("past_key_1"), (Shape{2, 2, 0, 4}));
  EXPECT_EQ(shape("past_key_2"), (Shape{2, 4, 8, 0}));  // keys stored transposed
}

TEST(Feeder, KnowsTheAxesOfACacheByTheirNames) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("past_key_values.0.key", {-1, -1, 2, 8});
  b.Op("Identity", {"input_ids"}, "y").Output("y", {-1, -1}, DType::kInt64);
  auto* shape = b.proto().mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type();
  shape->mutable_shape()->mutable_dim(0)->set_dim_param("past_sequence_length");
  shape->mutable_shape()->mutable_dim(1)->set_dim_param("batch_size");
  const Model model = b.Build();
  const Graph graph(model);
  const Values feeds = Feeder(graph, {}).Make({1, 2, 3, 4, 5, 6}, 2, 3);
  EXPECT_EQ(feeds.at(graph.Find("past_key_values.0.key")).shape(), (Shape{0, 2, 2, 8}));
}

TEST(Feeder, StartsStatesOfFixedSizeAsZeros) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64);
  b.Input("past_conv.0", {-1, 32, 4}).Input("past_ssm", {-1, 7}).Input("conv_cache", {6, -1, 8, 3});
  b.Op("Identity", {"input_ids"}, "y").Output("y", {-1, -1}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  const Values feeds = Feeder(graph, {}).Make({1, 2, 3, 4, 5, 6}, 2, 3);
  EXPECT_EQ(feeds.at(graph.Find("past_ssm")).shape(), (Shape{2, 7}));
  EXPECT_EQ(feeds.at(graph.Find("conv_cache")).shape(), (Shape{6, 2, 8, 3}));
  const Tensor& state = feeds.at(graph.Find("past_conv.0"));
  EXPECT_EQ(state.shape(), (Shape{2, 32, 4}));
  EXPECT_THAT(state.data<float>(), ::testing::Each(0.0f));
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

TEST(Feeder, HidesThePaddingOfRows) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("attention_mask", {-1, -1}, DType::kInt32);
  b.Op("Identity", {"input_ids"}, "y").Output("y", {-1, -1}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  ASSERT_TRUE(ReadsPadding(graph));
  const Values feeds = Feeder(graph, {}).MakePadded({1, 2, 3, 4, 0, 0}, 2, 3, {3, 1});
  EXPECT_THAT(feeds.at(graph.Find("input_ids")).data<int64_t>(), ElementsAre(1, 2, 3, 4, 0, 0));
  EXPECT_THAT(feeds.at(graph.Find("attention_mask")).data<int32_t>(),
              ElementsAre(1, 1, 1, 1, 0, 0));
}

TEST(ReadsPadding, NeedsAMaskAndOpenDimensionsAndNoCache) {
  const auto reads = [](const Shape& ids, const std::string& other, const Shape& shape) {
    GraphBuilder b;
    b.Input("input_ids", ids, DType::kInt64);
    b.Input(other, shape, other.starts_with("past") ? DType::kFloat32 : DType::kInt64);
    b.Op("Identity", {"input_ids"}, "y").Output("y", ids, DType::kInt64);
    const Model model = b.Build();
    return ReadsPadding(Graph(model));
  };
  EXPECT_TRUE(reads({-1, -1}, "attention_mask", {-1, -1}));
  EXPECT_FALSE(reads({-1, -1}, "position_ids", {-1, -1}));
  EXPECT_FALSE(reads({1, -1}, "attention_mask", {1, -1}));
  EXPECT_FALSE(reads({-1, -1}, "attention_mask", {-1, 1, -1, -1}));
  EXPECT_FALSE(reads({-1, -1}, "past_key_values.0.key", {-1, 2, -1, 8}));
}

TEST(Feeder, RefusesInputsThatADeclarationMakesTooLarge) {
  const auto declared = [](const Shape& shape) {
    GraphBuilder b;
    b.Input("input_ids", shape, DType::kInt64);
    b.Op("Identity", {"input_ids"}, "y").Output("y", shape, DType::kInt64);
    return b.Build();
  };
  for (const Shape& shape : {Shape{1, int64_t{1} << 40}, Shape{1 << 20, 1 << 20}}) {
    const Model model = declared(shape);
    const Graph graph(model);
    EXPECT_THROW((void)FixedTokenShape(graph), UnsupportedError);
    EXPECT_THROW((void)Feeder(graph, {}), UnsupportedError);
  }
  const Model scalar = declared({});
  EXPECT_THROW((void)Feeder(Graph(scalar), {}), UnsupportedError);
}

}  // namespace
}  // namespace ptq
