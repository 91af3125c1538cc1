// What an attention and the model's declarations get.
#include "ptq/transform/cache_codes.h"

#include "transform_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::EditedModel;
using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::HasSubstr;
using testing::IntOf;

/// An attention whose caches are "past" and "y", and "past2" and "values".
GraphBuilder Attending() {
  GraphBuilder b;
  b.Input("q", {1, -1, 32}).Input("k", {1, -1, 16}).Input("v", {1, -1, 16});
  b.Input("past", {1, 2, -1, 8}).Input("past2", {1, 2, -1, 8});
  b.Input("last", {1}, DType::kInt32).Input("total", {}, DType::kInt32);
  b.Import("com.microsoft", 1);
  b.Op("GroupQueryAttention", {"q", "k", "v", "past", "past2", "last", "total"}, "y");
  b.Domain("com.microsoft").Int("num_heads", 4).Int("kv_num_heads", 2);
  b.Output("y", {1, -1, 32});
  return b;
}

Plan PlanOf(int bits, bool per_channel) {
  const Model model = Attending().Build();
  const Graph graph(model);
  Plan plan;
  plan.caches = QuantizedCaches{{bits, per_channel}, {}};
  Cache cache;  // the output stands for the present keys
  cache.name = "y";
  cache.keys = true;
  cache.past = graph.Find("past");
  cache.present = graph.Find("y");
  cache.heads = 2;
  cache.head_size = 8;
  cache.scales.assign(per_channel ? 16 : 1, 0.5F);
  plan.caches->caches = {cache};
  return plan;
}

const onnx::ValueInfoProto& DeclarationOf(const onnx::GraphProto& graph, const std::string& name) {
  for (const auto* list : {&graph.input(), &graph.output()}) {
    for (const auto& value : *list) {
      if (value.name() == name) return value;
    }
  }
  throw std::runtime_error(name);
}

std::string StringOf(const onnx::NodeProto& node, const std::string& name) {
  const auto* attribute = FindAttribute(node, name);
  return attribute == nullptr ? "" : attribute->s();
}

class CacheCodesTest : public ::testing::TestWithParam<std::pair<int, bool>> {};

TEST_P(CacheCodesTest, GivesScalesAttributesAndTypes) {
  const auto [bits, per_channel] = GetParam();
  const Plan plan = PlanOf(bits, per_channel);
  TransformRequest request;
  request.plan = &plan;
  EditedModel edited(Attending(), request);
  EXPECT_THAT(edited.passes().cache_codes.Plan(), HasSubstr("1 caches become int"));
  (void)edited.Committed();
  edited.passes().Apply(TransformStage::kCommitted);
  edited.passes().Apply(TransformStage::kCommitted);  // nothing is left to do
  const onnx::GraphProto& graph = edited.output().model.graph();
  const onnx::NodeProto& node = graph.node(0);
  ASSERT_EQ(node.input_size(), 13);
  for (int i = 7; i < 12; ++i) EXPECT_EQ(node.input(i), "");
  EXPECT_EQ(node.input(12), "y_scale");
  EXPECT_EQ(IntOf(node, "kv_cache_bit_width"), bits);
  const std::string type = per_channel ? "PER_CHANNEL" : "PER_TENSOR";
  EXPECT_EQ(StringOf(node, "k_quant_type"), type);
  EXPECT_EQ(StringOf(node, "v_quant_type"), type);
  EXPECT_EQ(edited.output().store.initializers().size(), 1U);
  EXPECT_EQ(edited.Stored("y_scale").shape(), Shape{per_channel ? 16 : 1});
  const auto& past = DeclarationOf(graph, "past").type().tensor_type();
  EXPECT_EQ(past.elem_type(), bits == 4 ? onnx::TensorProto::UINT8 : onnx::TensorProto::INT8);
  EXPECT_EQ(past.shape().dim(3).dim_value(), bits);
  EXPECT_EQ(DeclarationOf(graph, "past2").type().tensor_type().elem_type(),
            onnx::TensorProto::FLOAT);
}

INSTANTIATE_TEST_SUITE_P(Forms, CacheCodesTest,
                         ::testing::Values(std::pair{8, true}, std::pair{8, false},
                                           std::pair{4, true}, std::pair{4, false}));

TEST(CacheCodes, DoesNothingUnasked) {
  EditedModel edited(Attending());
  EXPECT_EQ(edited.passes().cache_codes.Plan(), "");
  (void)edited.Committed();
  edited.passes().Apply(TransformStage::kCommitted);
  EXPECT_EQ(edited.output().model.graph().node(0).input_size(), 7);
}

}  // namespace
}  // namespace ptq
