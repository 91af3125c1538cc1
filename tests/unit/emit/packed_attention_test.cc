// A projection leads to the attention that it was taken out of, and to the bias behind it.
#include "packed_attention.h"

#include "emit_testing.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(PackedAttention, IsFoundBehindItsProjectionAlone) {
  testing::GraphBuilder b;
  b.Import("com.microsoft", 1).Input("x", {1, 3, 16});
  b.Random("packed.weight", {16, 48}).Random("packed.bias", {48}).Random("w", {16, 16});
  b.Op("Attention", {"x", "packed.weight", "packed.bias"}, "a", "packed").Domain("com.microsoft");
  b.Int("num_heads", 2).Op("MatMul", {"a", "w"}, "y").Output("y", {1, 3, 16});
  const Model model = b.Build();
  const Graph graph(model);
  onnx::GraphProto copy = model.graph();
  const GraphEditor editor(graph, copy);
  int found = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    if (graph.nodes()[i].op_type() != "MatMul") continue;
    const auto attention = FindPackedAttention(graph, editor, int(i));
    EXPECT_EQ(attention.has_value(), graph.nodes()[i].output(0) != "y");
    if (!attention.has_value()) continue;
    ++found;
    EXPECT_EQ(attention->packed->name(), "packed");
    EXPECT_EQ(attention->bias, "packed.bias");
    EXPECT_EQ(graph.nodes()[size_t(attention->node)].op_type(), "MultiHeadAttention");
  }
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace ptq
