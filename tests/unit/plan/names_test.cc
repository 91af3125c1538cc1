// Where a linear's name comes from, and which names a pattern matches.
#include "ptq/plan/names.h"

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Adds what NodeProto.metadata_props (field 9) would hold.
void AddScopes(onnx::NodeProto& node, const std::string& scopes) {
  onnx::StringStringEntryProto entry;
  entry.set_key("pkg.torch.onnx.name_scopes");
  entry.set_value(scopes);
  node.GetReflection()->MutableUnknownFields(&node)->AddLengthDelimited(9,
                                                                        entry.SerializeAsString());
}

std::string NameOf(const std::string& weight, const std::string& node,
                   const std::string& scopes = "") {
  testing::GraphBuilder b;
  b.Input("x", {1, 4}).Random(weight, {4, 4}).Op("MatMul", {"x", weight}, "y", node);
  b.Output("y", {1, 4});
  if (!scopes.empty()) AddScopes(b.last(), scopes);
  const Model model = b.Build();
  const Graph graph(model);
  return LinearName(graph, 0, graph.Find(weight));
}

TEST(LinearName, ComesFromTheParameter) {
  EXPECT_EQ(NameOf("model.layers.0.mlp.up_proj.weight", "/other/MatMul"),
            "model.layers.0.mlp.up_proj");
  EXPECT_EQ(NameOf("model.layers.0.attn.q_proj.MatMul.weight", "n"), "model.layers.0.attn.q_proj");
}

TEST(LinearName, ComesFromTheNodesPathWhenTheWeightIsAnonymous) {
  EXPECT_EQ(NameOf("onnx::MatMul_123", "/model/layers.0/self_attn/q_proj/MatMul_1"),
            "model.layers.0.self_attn.q_proj");
}

TEST(LinearName, ComesFromTheExportersScopes) {
  EXPECT_EQ(NameOf("val_7", "node_linear_3",
                   "['', 'model', 'model.layers.0', 'model.layers.0.mlp.up_proj', 'linear_3']"),
            "model.layers.0.mlp.up_proj");
}

TEST(LinearName, FallsBackToTheNode) { EXPECT_EQ(NameOf("onnx::MatMul_1", "product"), "product"); }

TEST(NamePattern, MatchesGlobsAgainstWholeNames) {
  EXPECT_TRUE(NamePattern("model.layers.*.q_proj").Matches("model.layers.11.attn.q_proj"));
  EXPECT_FALSE(NamePattern("layers.*").Matches("model.layers.1"));
  EXPECT_TRUE(NamePattern("layer?").Matches("layer1"));
  EXPECT_FALSE(NamePattern("layer?").Matches("layer12"));
  EXPECT_TRUE(NamePattern("layer[0-2]").Matches("layer2"));
}

TEST(NamePattern, AnswersInTimeWhateverTheRegularExpression) {
  EXPECT_FALSE(NamePattern("/(a+)+$/").Matches(std::string(200, 'a') + "b"));
  EXPECT_TRUE(NamePattern("/^(a|aa)*b$/").Matches(std::string(200, 'a') + "b"));
  EXPECT_TRUE(NamePattern("/(x+x+)+y/").Matches(std::string(1 << 22, 'x') + "y"));
}

TEST(NamePattern, RefusesWhatWouldTakeTheMachineApart) {
  EXPECT_THROW(NamePattern("/" + std::string(1 << 20, '(') + "/"), UsageError);
  EXPECT_THROW(NamePattern("/" + std::string(1 << 16, '(') + std::string(1 << 16, ')') + "/"),
               UsageError);
  EXPECT_THROW(NamePattern("/((a{1000}){1000}){1000}/"), UsageError);
}

TEST(NamePattern, MatchesNamesThatAreNotUtf8) {
  EXPECT_TRUE(NamePattern("/^a.*b$/")
                  .Matches("a\xc3\xa9"
                           "b"));
  EXPECT_TRUE(
      NamePattern("/b$/").Matches("a\xff"
                                  "b"));
}

TEST(NamePattern, SearchesRegularExpressionsBetweenSlashes) {
  EXPECT_TRUE(NamePattern("/layers\\.[01]\\./").Matches("model.layers.1.up"));
  EXPECT_FALSE(NamePattern("/layers\\.[01]\\./").Matches("model.layers.11.up"));
  EXPECT_TRUE(NamePattern("/^lm_head$/").Matches("lm_head"));
  EXPECT_THROW(NamePattern("/[/"), UsageError);
  EXPECT_THROW(NamePattern("/(a)\\1/"), UsageError);  // back references: not in linear time
}

}  // namespace
}  // namespace ptq
