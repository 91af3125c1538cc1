// Which caches are found, how their keys turn, and what is refused.
#include "caches/find_caches.h"

#include <cmath>

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct CachedAttention {
  int64_t size = 8;  ///< of a head
  bool rotary = true;
  int64_t pairs = 4;          ///< that turn
  bool declares_size = true;  ///< of the caches
  bool uses_past = false;     ///< another node reads the past keys
  std::string quant_type = {};
};

/// One attention of two heads for keys and four for queries.
onnx::ModelProto Proto(const CachedAttention& of) {
  GraphBuilder b;
  const int64_t declared = of.declares_size ? of.size : -1;
  b.Input("q", {1, -1, 4 * of.size}).Input("k", {1, -1, 2 * of.size});
  b.Input("v", {1, -1, 2 * of.size}).Input("last", {1}, DType::kInt32);
  b.Input("total", {}, DType::kInt32);
  b.Input("past.k", {1, 2, -1, declared}).Input("past.v", {1, 2, -1, declared});
  const Tensor angles = testing::RandomTensor({16, of.pairs}, 1.0F, 5);
  Tensor cosines(DType::kFloat32, angles.shape()), sines(DType::kFloat32, angles.shape());
  for (size_t i = 0; i < angles.data<float>().size(); ++i) {
    cosines.mutable_data<float>()[i] = std::cos(angles.data<float>()[i]);
    sines.mutable_data<float>()[i] = std::sin(angles.data<float>()[i]);
  }
  b.Weight("cos", cosines).Weight("sin", sines);
  b.Op("GroupQueryAttention", {"q", "k", "v", "past.k", "past.v", "last", "total", "cos", "sin"},
       "y");
  b.Domain("com.microsoft").Int("num_heads", 4).Int("kv_num_heads", 2);
  b.Int("do_rotary", of.rotary ? 1 : 0);
  b.Import("com.microsoft", 1);
  if (of.uses_past) b.Op("Relu", {"past.k"}, "more").Output("more", {1, 2, -1, declared});
  b.Output("y", {1, -1, 4 * of.size});
  b.Output("now.k", {1, 2, -1, declared}).Output("now.v", {1, 2, -1, declared});
  onnx::ModelProto proto = b.proto();
  auto& node = *proto.mutable_graph()->mutable_node(0);
  node.add_output("now.k");
  node.add_output("now.v");
  if (!of.quant_type.empty()) {
    testing::AddAttribute(node, "k_quant_type", onnx::AttributeProto::STRING).set_s(of.quant_type);
  }
  return proto;
}

QuantizedCaches Found(const CachedAttention& of) {
  const Model model = Model::FromProto(Proto(of));
  return FindCaches(Graph(model), {});
}

std::string Refusal(const CachedAttention& of) {
  try {
    (void)Found(of);
  } catch (const UnsupportedError& error) {
    return error.what();
  }
  return "";
}

TEST(FindCaches, FindsKeysAndValuesOfAnAttention) {
  const QuantizedCaches found = Found({});
  ASSERT_EQ(found.caches.size(), 2U);
  const Cache& keys = found.caches[0];
  EXPECT_EQ(keys.name, "now.k");
  EXPECT_TRUE(keys.keys);
  EXPECT_EQ(keys.heads, 2);
  EXPECT_EQ(keys.head_size, 8);
  EXPECT_THAT(keys.scales, IsEmpty());
  EXPECT_EQ(found.caches[1].name, "now.v");
  EXPECT_FALSE(found.caches[1].keys);
}

TEST(FindCaches, ReadsFromTheTablesHowKeysTurn) {
  const QuantizedCaches partly = Found({.pairs = 2});
  EXPECT_EQ(partly.caches[0].rotated, 4);
  EXPECT_EQ(partly.caches[1].rotated, 0) << "values do not turn";
  ASSERT_EQ(partly.caches[0].turns.size(), 4U);
  const Tensor angles = testing::RandomTensor({16, 2}, 1.0F, 5);
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_EQ(partly.caches[0].turns[i].size(), 2U);
    for (size_t pair = 0; pair < 2; ++pair) {
      EXPECT_NEAR(partly.caches[0].turns[i][pair], angles.data<float>()[4 * i * 2 + pair], 1e-6);
    }
  }
  EXPECT_EQ(Found({.rotary = false}).caches[0].rotated, 0);
}

TEST(FindCaches, RefusesWhatTheRuntimeOrTheGraphDoesNotAllow) {
  EXPECT_THAT(Refusal({.size = 12}), HasSubstr("a multiple of 8 channels, these have 12"));
  EXPECT_THAT(Refusal({.declares_size = false}), HasSubstr("the size of a head stands neither"));
  EXPECT_THAT(Refusal({.uses_past = true}), HasSubstr("'past.k' is no input of the model for"));
  EXPECT_THAT(Refusal({.quant_type = "PER_TENSOR"}), HasSubstr("it is quantized already"));
  const Model model = testing::ToyDecoder(1).Build();
  EXPECT_THROW((void)FindCaches(Graph(model), {}), UnsupportedError);
}

}  // namespace
}  // namespace ptq
