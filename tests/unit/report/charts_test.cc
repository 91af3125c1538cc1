// Where charts put what they show, against positions worked out by hand.
#include "html/charts.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ptq {
namespace {

std::vector<std::string> Labels(const nlohmann::ordered_json& ticks) {
  std::vector<std::string> labels;
  for (const auto& tick : ticks) labels.push_back(tick.at("label"));
  return labels;
}

ChartFrame Frame(Scale scale, Unit unit) {
  ChartFrame frame;
  frame.title = "title";
  frame.y = {"y", scale, unit};
  frame.width = 56 + 12 + 100;  // 100 for the plot
  frame.height = 12 + 42 + 100;
  return frame;
}

TEST(Charts, PlaceLinearValuesBetweenRoundTicks) {
  const auto chart = Chart(Frame(Scale::kLinear, Unit::kNumber),
                           {{"a", "main", {{0, 0, ""}, {5, 50, ""}, {10, 100, ""}}}});
  EXPECT_EQ(Labels(chart["x_ticks"]), (std::vector<std::string>{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(chart["series"][0]["line"], "M56 112L106 62L156 12");
  EXPECT_EQ(chart["series"][0]["dots"], "M56 112h0M106 62h0M156 12h0");
}

TEST(Charts, LogScalesTickAtOneTwoAndFive) {
  const auto chart = Chart(Frame(Scale::kLog, Unit::kPercent),
                           {{"a", "main", {{0, 0.013, ""}, {1, 0.09, ""}, {2, 0, ""}}}});
  EXPECT_EQ(Labels(chart["y_ticks"]), (std::vector<std::string>{"1 %", "2 %", "5 %", "10 %"}));
  // log10(0.013) lies 11.4 % of the way from 1 % to 10 %; what is not positive is left out, and its
  // x with it.
  EXPECT_EQ(chart["series"][0]["dots"], "M56 100.6h0M156 16.6h0");
}

TEST(Charts, ManyDecadesHaveFewTicks) {
  const auto chart =
      Chart(Frame(Scale::kLog, Unit::kNumber), {{"a", "main", {{0, 1e-6, ""}, {1, 1e6, ""}}}});
  EXPECT_LE(chart["y_ticks"].size(), 6U);
}

TEST(Charts, WhatIsNotFiniteIsLeftOut) {
  EXPECT_TRUE(
      Chart(Frame(Scale::kLinear, Unit::kNumber), {{"a", "main", {{0, NAN, ""}}}}).is_null());
  EXPECT_TRUE(Chart(Frame(Scale::kLinear, Unit::kNumber), {}).is_null());
  const auto one = Chart(Frame(Scale::kLinear, Unit::kNumber), {{"a", "main", {{1, 1, ""}}}});
  EXPECT_EQ(one.dump().find("nan"), std::string::npos);
}

TEST(Charts, OnlySoManyPointsHaveLabels) {
  ChartSeries many = {"a", "main", {}};
  for (int i = 0; i < 5000; ++i) many.points.push_back({double(i), double(i % 7), "label"});
  const auto chart = Chart(Frame(Scale::kLinear, Unit::kNumber), {many});
  EXPECT_TRUE(chart["series"][0]["marks"].empty());
  many.points.resize(3);
  EXPECT_EQ(Chart(Frame(Scale::kLinear, Unit::kNumber), {many})["series"][0]["marks"].size(), 3U);
}

TEST(Charts, BarsStandOnZero) {
  const auto chart =
      BarChart(Frame(Scale::kLinear, Unit::kNumber), {{"a", 50}, {"b", 100}, {"c", 0}});
  EXPECT_EQ(chart["bars"][0]["height"], "50");
  EXPECT_EQ(chart["bars"][1]["y"], "12");
  EXPECT_EQ(chart["bars"][2]["height"], "0");
  EXPECT_TRUE(BarChart(Frame(Scale::kLinear, Unit::kNumber), {}).is_null());
}

TEST(Charts, ProfilesReachTheTopAtTheLargestValue) {
  EXPECT_EQ(Profile({1, 2}, "t")["area"], "M0 36V19H75V2H150V36Z");
  EXPECT_EQ(Profile({0, 0}, "t")["area"], "M0 36V36H75V36H150V36Z");
}

}  // namespace
}  // namespace ptq
