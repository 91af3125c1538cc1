// Codes of a mixture wait for each other, and lie in turn: a row of the gate, one of the values.
#include "held_experts.h"

#include <map>
#include <random>
#include <string>

#include "emit_testing.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::CodeAt;
using testing::FakeSink;
using testing::RandomMatrix;

constexpr int64_t kExperts = 2, kRowWidth = 32, kInnerWidth = 16;
constexpr QuantSpec kHeldSpec{4, 16, false};

/// A plan of a mixture alone, whose values are those of a small graph.
struct HeldMixture {
  explicit HeldMixture(bool gathered) : model(Source().Build()), graph(model) {
    plan.mixtures.push_back({"experts",
                             graph.Find("x"),
                             graph.Find("r"),
                             graph.Find("y"),
                             kExperts,
                             1,
                             true,
                             gathered,
                             {}});
  }

  static testing::GraphBuilder Source() {
    testing::GraphBuilder b;
    b.Input("x", {-1, kRowWidth}).Random("w", {kRowWidth, kExperts}).Op("MatMul", {"x", "w"}, "r");
    return std::move(b.Op("Relu", {"x"}, "y").Output("y", {-1, kRowWidth}).Output("r", {-1, 2}));
  }

  void Add(ExpertPart part, int64_t expert, int64_t n, int64_t k) {
    Linear linear;
    linear.place = {-1, 0, expert, part};
    linear.decision.form = &FindLinearForm("qmoe");
    linear.n = n;
    linear.k = k;
    plan.linears.push_back(linear);
    codes.push_back(
        RandomMatrix(n, k, kHeldSpec.bits, kHeldSpec.group_size, kHeldSpec.symmetric, random));
  }

  /// Takes all; nodes come with the last only.
  HeldExperts::Replacement TakeAll() {
    std::optional<HeldExperts::Replacement> taken;
    for (size_t i = 0; i < codes.size(); ++i) {
      EXPECT_FALSE(taken.has_value());
      taken = experts.Take(graph, plan, plan.linears[i], codes[i], sink);
      EXPECT_EQ(experts.IsWaiting(), i + 1 < codes.size());
    }
    EXPECT_TRUE(taken.has_value());
    return std::move(taken.value());
  }

  void ExpectRow(const std::string& tensor, int64_t row, const QuantizedMatrix& q, int64_t of) {
    const Tensor& stored = sink.tensors.at(tensor + ".weight_q4");
    for (int64_t i = 0; i < q.k; ++i) {
      EXPECT_EQ(CodeAt(stored.bytes(), 4, row * q.k + i), q.codes[size_t(of * q.k + i)]);
    }
    const int64_t groups = q.spec.GroupsFor(q.k);
    const auto scales = sink.tensors.at(tensor + ".weight_scales").data<float>();
    const auto zeros = sink.tensors.at(tensor + ".weight_zero_points").bytes();
    for (int64_t g = 0; g < groups; ++g) {
      EXPECT_EQ(scales[size_t(row * groups + g)], q.scales[size_t(of * groups + g)]);
      const int64_t place = row * ((groups + 1) / 2 * 2) + g;
      EXPECT_EQ(CodeAt(zeros, 4, place), q.zero_points[size_t(of * groups + g)]);
    }
  }

  Model model;
  Graph graph;
  Plan plan;
  std::vector<QuantizedMatrix> codes;
  HeldExperts experts;
  FakeSink sink;
  std::mt19937 random{3};
};

TEST(HeldExperts, TakeTheRowsOfGateAndValuesInTurn) {
  HeldMixture held(/*gathered=*/false);
  for (int64_t e = 0; e < kExperts; ++e) {
    held.Add(ExpertPart::kValue, e, kInnerWidth, kRowWidth);
    held.Add(ExpertPart::kGate, e, kInnerWidth, kRowWidth);
    held.Add(ExpertPart::kDown, e, kRowWidth, kInnerWidth);
  }
  const auto [node, nodes] = held.TakeAll();
  EXPECT_EQ(held.graph.nodes()[size_t(node)].output(0), "y");
  ASSERT_EQ(nodes.size(), 1U);
  EXPECT_EQ(nodes[0].op_type(), "QMoE");
  EXPECT_EQ(nodes[0].input(0), "x");
  EXPECT_EQ(nodes[0].input(1), "r");
  EXPECT_EQ(testing::IntOf(nodes[0], "swiglu_fusion"), 1);
  EXPECT_EQ(testing::IntOf(nodes[0], "normalize_routing_weights"), 1);
  EXPECT_EQ(testing::IntOf(nodes[0], "k"), 1);
  for (int64_t e = 0; e < kExperts; ++e) {
    const auto first = size_t(3 * e);
    for (int64_t r = 0; r < kInnerWidth; ++r) {
      const int64_t row = (e * kInnerWidth + r) * 2;
      held.ExpectRow("experts.gate_up", row, held.codes[first + 1], r);
      held.ExpectRow("experts.gate_up", row + 1, held.codes[first], r);
    }
    for (int64_t r = 0; r < kRowWidth; ++r) {
      held.ExpectRow("experts.down", e * kRowWidth + r, held.codes[first + 2], r);
    }
  }
}

TEST(HeldExperts, TakeHalvesOfAStackInTurn) {
  HeldMixture held(/*gathered=*/true);
  held.Add(ExpertPart::kBoth, 0, kExperts * 2 * kInnerWidth, kRowWidth);
  held.Add(ExpertPart::kDown, 0, kExperts * kRowWidth, kInnerWidth);
  (void)held.TakeAll();
  for (int64_t e = 0; e < kExperts; ++e) {
    for (int64_t r = 0; r < kInnerWidth; ++r) {
      const int64_t row = (e * kInnerWidth + r) * 2;
      held.ExpectRow("experts.gate_up", row, held.codes[0], e * 2 * kInnerWidth + r);
      held.ExpectRow("experts.gate_up", row + 1, held.codes[0], (e * 2 + 1) * kInnerWidth + r);
    }
  }
  for (int64_t r = 0; r < kExperts * kRowWidth; ++r) {
    held.ExpectRow("experts.down", r, held.codes[1], r);
  }
}

}  // namespace
}  // namespace ptq
