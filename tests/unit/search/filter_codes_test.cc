// The codes of filters: as near as rounding to nearest or nearer, channel by channel, and what they
// stand for in the graph.
#include "ptq/search/filter_codes.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

/// y = ConvTranspose of two groups; the outputs' weights grow, so that one scale for all is coarse.
struct FilterFixture {
  explicit FilterFixture(bool broken = false) : model(Built(broken).Build()), graph(model) {
    filters.name = "up";
    filters.stored = graph.Find("up.weight");
    filters.n = 6;
    filters.k = 4 * 5;
    filters.groups = 2;
    filters.taps = 5;
    filters.convolutions = {0};
    filters.decision.form = &UnwrittenCodes();
    filters.decision.parameters.spec = {8, 0, true, ScaleType::kFloat32};
  }

  static Tensor Weight() {
    Tensor weight = testing::RandomTensor({8, 3, 5}, 1.0f, 7);
    auto values = weight.mutable_data<float>();
    for (size_t i = 0; i < values.size(); ++i) values[i] *= std::pow(10.0f, float(i / 5 % 3));
    return weight;
  }

  static GraphBuilder Built(bool broken) {
    GraphBuilder b(17);
    Tensor weight = Weight();
    if (broken) weight.mutable_data<float>()[3] = NAN;
    b.Input("x", {1, 8, 9}).Weight("up.weight", weight);
    b.Op("ConvTranspose", {"x", "up.weight"}, "y").Int("group", 2).Output("y", {1, 6, 13});
    return b;
  }

  Model model;
  Graph graph;
  Constant filters;
};

TEST(FilterCodes, StandForTheFiltersWithinHalfAStepOfTheirChannel) {
  const FilterFixture f;
  Plan plan;
  plan.constants = {f.filters};
  const auto operands = FilterOperands(f.graph, plan);
  ASSERT_EQ(operands.size(), 1u);
  const Tensor whole = operands.at(f.filters.stored)->Whole();
  EXPECT_EQ(whole.shape(), (Shape{8, 3, 5}));
  const Tensor weight = FilterFixture::Weight();
  for (int64_t i = 0; i < 8 * 3 * 5; ++i) {
    const double largest = std::pow(10.0, double(i / 5 % 3));  // of the output, which i / 5 % 3 is
    // The searched grid may clip the largest for the sake of the others.
    EXPECT_NEAR(whole.data<float>()[size_t(i)], weight.data<float>()[size_t(i)],
                2.5 * largest / 127);
  }
}

TEST(FilterCodes, AreNoFartherThanRoundedToNearest) {
  const FilterFixture f;
  Outcome sums;
  const QuantizedMatrix q = FilterCodes(f.graph, f.filters, &sums);
  EXPECT_EQ(q.n, 6);
  EXPECT_EQ(q.k, 20);
  EXPECT_EQ(q.scales.size(), 6u);
  EXPECT_GT(sums.loss_after, 0);
  EXPECT_LE(sums.loss_after, sums.loss_before);
  double energy = 0;
  const Tensor weight = FilterFixture::Weight();
  for (const float value : weight.data<float>()) energy += double(value) * value;
  EXPECT_NEAR(sums.energy, energy, 1e-4 * energy);
  EXPECT_LT(sums.loss_after, 1e-4 * energy);
}

TEST(FilterCodes, ComeOutTheSameAgain) {
  const FilterFixture f;
  EXPECT_EQ(FilterCodes(f.graph, f.filters).codes, FilterCodes(f.graph, f.filters).codes);
}

TEST(FilterCodes, AWeightThatIsNoNumberIsNamed) {
  const FilterFixture f(/*broken=*/true);
  try {
    (void)FilterCodes(f.graph, f.filters);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("up"), std::string::npos);
  }
}

}  // namespace
}  // namespace ptq
