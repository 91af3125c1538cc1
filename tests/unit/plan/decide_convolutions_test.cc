// Which filters become codes, which are kept and why, and where their weights lie.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "decide.h"
#include "support/model_builder.h"
#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Planned;

PlanOptions Asking(Precision convolutions, std::vector<Rule> rules = {}) {
  PlanOptions options;
  options.convolutions = convolutions;
  options.rules = std::move(rules);
  return options;
}

Rule RuleOf(const std::string& pattern, const std::string& form, std::optional<int> bits = {}) {
  Rule rule;
  rule.pattern = pattern;
  rule.form = form;
  rule.bits = bits;
  return rule;
}

/// A convolution of `width` channels, then one back, each of three taps, and a product.
GraphBuilder Convolved(int64_t width = 32) {
  GraphBuilder b(17);
  b.Input("x", {1, 16, 20}).Random("conv1.weight", {width, 16, 3});
  b.Random("up.weight", {width, 8, 3}).Random("proj.weight", {18, 8});
  b.Op("Conv", {"x", "conv1.weight"}, "h");
  b.Op("ConvTranspose", {"h", "up.weight"}, "u").Int("group", 2).Ints("pads", {1, 1});
  b.Op("MatMul", {"u", "proj.weight"}, "y").Output("y", {1, 16, 8});
  return b;
}

/// Filters that became codes; a failure when they did not.
const Constant& Filters(const Planned& planned, const std::string& name) {
  for (const Constant& constant : planned.plan.constants) {
    if (constant.name == name) return constant;
  }
  ADD_FAILURE() << "no constant is named '" << name << "'";
  return planned.plan.constants.front();
}

TEST(DecideConvolutions, BecomeCodesOfAScaleForEachOutputChannel) {
  const Planned planned(Convolved(), Asking(Precision::kInt8));
  const Constant& conv = Filters(planned, "conv1");
  EXPECT_TRUE(conv.decision.quantizes());
  EXPECT_EQ(conv.n, 32);
  EXPECT_EQ(conv.k, 48);
  EXPECT_EQ(conv.groups, 0);
  EXPECT_EQ(conv.spec().bits, 8);
  EXPECT_EQ(conv.spec().group_size, 0);
  EXPECT_TRUE(conv.spec().symmetric);
  EXPECT_EQ(conv.decision.bytes, 32 * 48 + 32 * 4);
}

TEST(DecideConvolutions, OutputsOfATransposedOneCountOverItsGroups) {
  // [32 inputs, 8 outputs of each of 2 groups, 3 taps]: too few weights for codes.
  const Planned small(Convolved(), Asking(Precision::kInt8));
  EXPECT_EQ(small.Find("up").decision.reason, "convolution, fewer than 1024 weights");
  const Planned planned(Convolved(48), Asking(Precision::kInt8));
  const Constant& up = Filters(planned, "up");
  EXPECT_TRUE(up.decision.quantizes());
  EXPECT_EQ(up.n, 16);
  EXPECT_EQ(up.k, 24 * 3);
  EXPECT_EQ(up.groups, 2);
  EXPECT_EQ(up.taps, 3);
}

TEST(DecideConvolutions, ElementsLieWhereTheOperatorsReadThem) {
  Constant filters;
  filters.n = 6;
  filters.k = 4 * 5;
  EXPECT_EQ(filters.ElementOf(2, 7), 2 * 20 + 7);
  filters.groups = 3;  // [12, 2, 5]
  filters.taps = 5;
  for (int64_t group = 0; group < 3; ++group) {
    for (int64_t output = 0; output < 2; ++output) {
      for (int64_t input = 0; input < 4; ++input) {
        for (int64_t tap = 0; tap < 5; ++tap) {
          EXPECT_EQ(filters.ElementOf(group * 2 + output, input * 5 + tap),
                    ((group * 4 + input) * 2 + output) * 5 + tap);
        }
      }
    }
  }
}

TEST(DecideConvolutions, VisitsEveryWeightWithItsPlace) {
  Constant filters;
  filters.n = 6;
  filters.k = 4 * 5;
  for (const int64_t groups : {0, 1, 2}) {
    filters.groups = groups;
    filters.taps = 5;
    std::vector<size_t> places;
    filters.ForEachWeight([&](size_t i, size_t element) {
      EXPECT_EQ(i, places.size());
      EXPECT_EQ(int64_t(element), filters.ElementOf(int64_t(i) / 20, int64_t(i) % 20));
      places.push_back(element);
    });
    EXPECT_EQ(places.size(), 120U);
    EXPECT_EQ(std::set<size_t>(places.begin(), places.end()).size(), 120U) << "one place each";
    EXPECT_EQ(std::ranges::max(places), 119U);
  }
}

TEST(DecideConvolutions, NobodyAsksForThemOfHimself) {
  const Planned planned(Convolved());
  EXPECT_TRUE(planned.Find("conv1").decision.keeps());
  EXPECT_EQ(planned.Find("conv1").decision.reason, "convolution");
  EXPECT_THAT(planned.plan.constants, IsEmpty());
}

TEST(DecideConvolutions, CodesAreNoLinears) {
  const Planned planned(Convolved(48), Asking(Precision::kInt8));
  ASSERT_EQ(planned.plan.linears.size(), 1u);
  EXPECT_EQ(planned.plan.linears[0].name, "proj");
  EXPECT_EQ(planned.plan.constants.size(), 2u);
}

TEST(DecideConvolutions, Fp16IsForThemAlone) {
  const Planned planned(Convolved(), Asking(Precision::kHalf));
  EXPECT_TRUE(planned.Find("conv1").decision.halves());
  EXPECT_TRUE(planned.Find("up").decision.halves());
  EXPECT_EQ(planned.Find("conv1").decision.bytes, 2 * 32 * 48);
  EXPECT_TRUE(planned.Find("proj").decision.quantizes());
}

TEST(DecideConvolutions, RulesDecideByName) {
  const Planned planned(Convolved(48),
                        Asking(Precision::kInt8, {RuleOf("conv1", "keep"), RuleOf("up", "fp16")}));
  EXPECT_TRUE(planned.Find("conv1").decision.keeps());
  EXPECT_TRUE(planned.Find("conv1").decision.asked);
  EXPECT_EQ(planned.Find("conv1").decision.reason, "convolution, rule 'conv1'");
  EXPECT_TRUE(planned.Find("up").decision.halves());
  const Planned asked(Convolved(48), Asking(Precision::kKeep, {RuleOf("c*", "", 8)}));
  EXPECT_TRUE(Filters(asked, "conv1").decision.quantizes());
  EXPECT_EQ(Filters(asked, "conv1").decision.reason, "rule 'c*'");
  EXPECT_TRUE(asked.Find("up").decision.keeps());
}

TEST(DecideConvolutions, OtherBitsOfARuleAreForLinears) {
  const Planned planned(Convolved(48), Asking(Precision::kKeep, {RuleOf("*", "", 4)}));
  EXPECT_EQ(planned.Find("conv1").decision.reason, "convolution");
}

TEST(DecideConvolutions, WhatIsExcludedIsLeftAlone) {
  PlanOptions options = Asking(Precision::kInt8);
  options.exclude = {"conv*"};
  const Planned planned(Convolved(48), options);
  EXPECT_TRUE(planned.Find("conv1").decision.keeps());
  EXPECT_TRUE(Filters(planned, "up").decision.quantizes());
  options.exclude.clear();
  options.include = {"conv1", "proj"};
  const Planned included(Convolved(48), options);
  EXPECT_TRUE(Filters(included, "conv1").decision.quantizes());
  EXPECT_TRUE(included.Find("up").decision.keeps());
}

TEST(DecideConvolutions, OtherReadersOfTheFloatsKeepThem) {
  GraphBuilder b = Convolved();
  b.Op("ReduceSum", {"conv1.weight"}, "sum").Output("sum", {});
  const Planned planned(b, Asking(Precision::kInt8));
  EXPECT_EQ(planned.Find("conv1").decision.reason,
            "convolution, the operator ReduceSum reads its floats");
}

TEST(DecideConvolutions, FiltersSeenInTwoWaysAreKept) {
  GraphBuilder b = Convolved();
  b.Input("z", {1, 32, 9});
  b.Op("ConvTranspose", {"z", "conv1.weight"}, "other").Output("other", {1, 16, 11});
  const Planned planned(b, Asking(Precision::kInt8));
  EXPECT_THAT(planned.plan.linears.front().decision.reason, HasSubstr("different ways"));
}

TEST(DecideConvolutions, SharedFiltersAreOneSubject) {
  GraphBuilder b = Convolved(48);
  b.Input("z", {1, 16, 9}).Op("Conv", {"z", "conv1.weight"}, "other").Output("other", {1, 48, 7});
  const Planned planned(b, Asking(Precision::kInt8));
  ASSERT_EQ(planned.plan.constants.size(), 2u);
  EXPECT_EQ(planned.plan.constants[0].convolutions.size(), 2u);
  EXPECT_EQ(planned.plan.linears.size(), 1u);
}

TEST(DecideConvolutions, AModelOfNothingElseIsWorthARun) {
  GraphBuilder b(17);
  b.Input("x", {1, 16, 20}).Random("conv1.weight", {32, 16, 3});
  b.Op("Conv", {"x", "conv1.weight"}, "y").Output("y", {1, 32, 18});
  const Planned planned(b, Asking(Precision::kInt8));
  EXPECT_THAT(planned.plan.linears, IsEmpty());
  EXPECT_TRUE(Filters(planned, "conv1").decision.quantizes());
}

}  // namespace
}  // namespace ptq
