// What is rounded or computed has no place in a stored tensor. (Views of random chains are compared
// with the operators' own results in tests/unit/runtime.)
#include "ptq/model/constant_view.h"

#include "support/model_builder.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;

TEST(ConstantView, DoesNotPlaceWhatIsRoundedOrComputed) {
  GraphBuilder b;
  b.Input("x", {1}).Random("w", {4, 6}).Random("gain", {6});
  b.Op("Cast", {"w"}, "half").Int("to", int64_t(DType::kFloat16));
  b.Op("Mul", {"w", "gain"}, "scaled").Op("Exp", {"w"}, "other");
  for (const std::string name : {"half", "scaled", "other"}) b.Output(name, {4, 6});
  const Model model = b.Build();
  const Graph graph(model);
  const auto half = ViewConstant(graph, graph.Find("half"));
  ASSERT_TRUE(half.has_value());
  EXPECT_EQ(half->dtype, DType::kFloat16);
  EXPECT_FALSE(half->placement.has_value());
  const auto scaled = ViewConstant(graph, graph.Find("scaled"));
  ASSERT_TRUE(scaled.has_value());
  EXPECT_EQ(scaled->stored, graph.Find("w"));
  EXPECT_FALSE(scaled->placement.has_value());
  EXPECT_FALSE(ViewConstant(graph, graph.Find("other")).has_value());
}

}  // namespace
}  // namespace ptq
