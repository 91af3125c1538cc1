// Where the lines, bars and ticks of a chart go: data/report/charts.html draws what stands here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

struct ChartPoint {
  double x = 0;
  double y = 0;
  std::string label;  ///< for people who point at it; may be empty
};

/// Lines or dots of one colour.
struct ChartSeries {
  std::string name;    ///< in the legend
  std::string colour;  ///< a class of report.css: "main", "other", "third"
  std::vector<ChartPoint> points;
  bool line = true;  ///< joins the points
  bool dots = true;  ///< marks each
};

enum class Scale { kLinear, kLog };
enum class Unit { kNumber, kPercent, kBytes };

/// What an axis shows. Of a log scale, values that are not positive are left out.
struct ChartAxis {
  std::string title;
  Scale scale = Scale::kLinear;
  Unit unit = Unit::kNumber;
  bool from_zero = false;  ///< of a linear scale
  bool whole = false;      ///< ticks at whole numbers only
  /// Values that it covers besides those of the chart: charts beside each other then compare.
  std::vector<double> covers = {};
};

struct ChartFrame {
  std::string title;
  std::string description;  ///< what a screen reader says instead of the picture
  ChartAxis x, y;
  int width = 380;
  int height = 210;
};

/// Null when there is no point that can be shown.
[[nodiscard]] nlohmann::ordered_json Chart(const ChartFrame& frame,
                                           const std::vector<ChartSeries>& series);

struct ChartBar {
  std::string label;
  double value = 0;
};
/// Upright bars beside each other, labelled below. Null without bars.
[[nodiscard]] nlohmann::ordered_json BarChart(const ChartFrame& frame,
                                              const std::vector<ChartBar>& bars);

/// A small picture for a cell of a table: bars of `values` from zero to the largest.
[[nodiscard]] nlohmann::ordered_json Profile(const std::vector<double>& values,
                                             const std::string& title);
/// The same of lines, with a ring around one point.
[[nodiscard]] nlohmann::ordered_json Curve(const std::vector<ChartSeries>& series,
                                           const std::optional<ChartPoint>& chosen,
                                           const std::string& title);

/// A value as the axis's unit shows it.
[[nodiscard]] std::string FormatIn(Unit unit, double value);

}  // namespace ptq
