// Kinds and layers of the names that exporters give.
#include "ptq/plan/linear_kind.h"

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(LinearKind, IsWhatFollowsTheLayersNumber) {
  const LinearKind found = KindOfLinear("model.layers.12.self_attn.q_proj");
  EXPECT_EQ(found.kind, "self_attn.q_proj");
  EXPECT_EQ(found.layer, 12);
  EXPECT_EQ(KindOfLinear("/encoder/layer.3/attention/output/dense").kind, "attention.output.dense");
}

TEST(LinearKind, ExpertsOfALayerAreOfOneKind) {
  EXPECT_EQ(KindOfLinear("layers.1.mlp.experts.17.up").kind, "mlp.experts.*.up");
  EXPECT_EQ(KindOfLinear("layers.1.mlp.experts.17.up").layer, 1);
}

TEST(LinearKind, IsTheNameWithoutANumber) {
  EXPECT_EQ(KindOfLinear("lm_head").kind, "lm_head");
  EXPECT_EQ(KindOfLinear("lm_head").layer, -1);
  EXPECT_EQ(KindOfLinear("fc1").layer, -1);
  EXPECT_EQ(KindOfLinear("classifier.3").kind, "classifier.3");
  EXPECT_EQ(KindOfLinear("").kind, "");
}

}  // namespace
}  // namespace ptq
