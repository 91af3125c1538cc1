// A graph with codes in its cache gives what it gave, where the codes hold the rows exactly.
#include "ptq/transform/concat_cache_codes.h"

#include <algorithm>

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using testing::GraphBuilder;
using ::testing::Pointwise;

constexpr int64_t kConcatHeads = 2;
constexpr int64_t kConcatSize = 4;

/// q · present keysᵀ · present values, without a Softmax.
GraphBuilder ConcatAttending() {
  GraphBuilder b;
  for (const char* name : {"q", "k", "v", "past_k", "past_v"}) {
    b.Input(name, {1, kConcatHeads, -1, kConcatSize});
  }
  b.Op("Concat", {"past_k", "k"}, "now_k").Int("axis", 2);
  b.Op("Concat", {"past_v", "v"}, "now_v").Int("axis", 2);
  b.Op("Transpose", {"now_k"}, "kt").Ints("perm", {0, 1, 3, 2});
  b.Op("MatMul", {"q", "kt"}, "scores").Op("MatMul", {"scores", "now_v"}, "y");
  for (const char* name : {"y", "now_k", "now_v"})
    b.Output(name, {1, kConcatHeads, -1, kConcatSize});
  return b;
}

Cache CacheOf(const Graph& graph, bool keys, std::vector<float> scales) {
  const char* const reader = keys ? "kt" : "y";
  const auto producer = [&](const char* value) { return graph.value(graph.Find(value)).producer; };
  Cache cache;
  cache.name = keys ? "now_k" : "now_v";
  cache.keys = keys;
  cache.past = graph.Find(keys ? "past_k" : "past_v");
  cache.present = graph.Find(cache.name);
  cache.node = producer(cache.name.c_str());
  cache.heads = kConcatHeads;
  cache.head_size = kConcatSize;
  cache.scales = std::move(scales);
  CacheRows rows{cache.node,
                 true,
                 graph.Find(keys ? "k" : "v"),
                 cache.present,
                 {{producer(reader), keys ? 0 : 1}}};
  rows.products = {{producer(keys ? "scores" : "y"), {1, kConcatHeads, 1, kConcatSize}, 1}};
  cache.rows = {rows};
  return cache;
}

/// Multiples of each channel's scale.
Tensor RowsOf(const std::vector<float>& scales, int64_t tokens, int seed) {
  Tensor rows(DType::kFloat32, {1, kConcatHeads, tokens, kConcatSize});
  auto data = rows.mutable_data<float>();
  for (size_t i = 0; i < data.size(); ++i) {
    const size_t head = i / size_t(tokens * kConcatSize);
    const float scale =
        scales.size() == 1 ? scales[0] : scales[head * kConcatSize + i % kConcatSize];
    data[i] = float((int(i) * 37 + seed) % 255 - 127) * scale;
  }
  return rows;
}

Values RunOn(const Model& model, const std::map<std::string, Tensor>& inputs) {
  const Graph graph(model);
  Values values;
  for (const ValueId id : graph.graph_inputs()) values[id] = inputs.at(graph.value(id).name);
  Values found;
  const Values outputs = Executor(graph).RunAll(std::move(values));
  ValueId next = 0;
  for (const ValueId id : graph.graph_outputs()) found[next++] = outputs.at(id);
  return found;
}

class ConcatCacheCodesTest : public ::testing::TestWithParam<bool> {};

TEST_P(ConcatCacheCodesTest, GivesWhatTheFloatsGave) {
  std::vector<float> scales(GetParam() ? kConcatHeads * kConcatSize : 1, 0.25F);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] += 0.125F * float(i);
  Plan plan;
  const Model source = ConcatAttending().Build();
  const Graph graph(source);
  plan.caches = QuantizedCaches{{8, GetParam()}, {}};
  plan.caches->caches = {CacheOf(graph, true, scales), CacheOf(graph, false, scales)};
  TransformRequest request;
  request.plan = &plan;
  EditedModel edited(ConcatAttending(), request);
  (void)edited.Committed();
  edited.passes().Apply(TransformStage::kCommitted);
  onnx::ModelProto proto = edited.output().model;
  for (auto& tensor : edited.output().store.initializers()) {
    *proto.mutable_graph()->add_initializer() = tensor;
  }
  std::map<std::string, Tensor> inputs = {
      {"q", testing::RandomTensor({1, kConcatHeads, 3, kConcatSize}, 1, 9)},
      {"k", RowsOf(scales, 3, 5)},
      {"v", RowsOf(scales, 3, 11)}};
  for (const char* name : {"past_k", "past_v"}) {
    inputs[name] = Tensor(DType::kFloat32, {1, kConcatHeads, 0, kConcatSize});
  }
  const Values wanted = RunOn(source, inputs);
  // As it was, when it is dequantized.
  const Values again = RunOn(Model::FromProto(proto, /*dequantize=*/true), inputs);
  for (const char* name : {"past_k", "past_v"}) {
    inputs[name] = Tensor(DType::kInt8, {1, kConcatHeads, 0, kConcatSize});
  }
  const Values found = RunOn(Model::FromProto(proto), inputs);
  for (const ValueId id : {0, 1, 2}) {
    EXPECT_THAT(again.at(id).data<float>(),
                Pointwise(FloatNear(1e-2F), wanted.at(id).data<float>()));
  }
  EXPECT_THAT(found.at(0).data<float>(), Pointwise(FloatNear(1e-2F), wanted.at(0).data<float>()));
  EXPECT_EQ(found.at(1).dtype(), DType::kInt8);
  const auto codes = found.at(1).data<int8_t>();
  for (size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(int(codes[i]), (int(i) * 37 + 5) % 255 - 127);
  }
}

INSTANTIATE_TEST_SUITE_P(Scales, ConcatCacheCodesTest, ::testing::Bool());

TEST(ConcatCacheCodes, ScalesAreAVectorAlsoWhenTheyAreOne) {
  EditedModel edited(ConcatAttending());
  (void)edited.Committed();
  ConcatCacheCodes pass(edited.output());
  pass.Write(CacheOf(edited.graph(), true, {}), std::vector<float>{0.5F});
  pass.Finish();
  EXPECT_THAT(edited.Stored("now_k_scale").data<float>(), ElementsAre(0.5F, 0.5F, 0.5F, 0.5F));
  const auto& nodes = edited.output().model.graph().node();
  EXPECT_EQ(std::ranges::count(nodes, "Mul", &onnx::NodeProto::op_type), 1);
}

TEST(ConcatCacheCodes, AnotherTransposeOfTheSameReadsTheRowsAsTheCacheGivesThem) {
  GraphBuilder b;
  b.Input("q", {1, kConcatHeads, -1, kConcatSize}).Input("k", {1, -1, kConcatHeads, kConcatSize});
  b.Op("Transpose", {"k"}, "now_k").Ints("perm", {0, 2, 1, 3});
  b.Op("Transpose", {"k"}, "kt").Ints("perm", {0, 2, 3, 1});
  b.Op("MatMul", {"q", "kt"}, "y").Output("y", {1, kConcatHeads, -1, -1});
  b.Output("now_k", {1, kConcatHeads, -1, kConcatSize});
  EditedModel edited(b);
  Cache cache;
  cache.name = "now_k";
  cache.keys = true;
  cache.past = edited.graph().Find("q");  // for its type
  cache.present = edited.graph().Find("now_k");
  cache.heads = kConcatHeads;
  cache.head_size = kConcatSize;
  cache.rows = {{edited.Producer("now_k"), false, cache.present, cache.present, {}}};
  cache.rows[0].twins = {edited.Producer("kt")};
  cache.rows[0].products = {{edited.Producer("y"), {1, kConcatHeads, 1, kConcatSize}, 1}};
  (void)edited.Committed();
  ConcatCacheCodes pass(edited.output());
  pass.Write(cache, std::vector<float>{1.0F});
  pass.Finish();
  for (const auto& node : edited.output().model.graph().node()) {
    if (node.output(0) != "kt") continue;
    const auto& perm = node.attribute(0).ints();
    EXPECT_THAT(std::vector<int64_t>(perm.begin(), perm.end()), ElementsAre(0, 1, 3, 2));
    EXPECT_NE(node.input(0), "k");
    return;
  }
  FAIL() << "the Transpose is gone";
}

}  // namespace
}  // namespace ptq
