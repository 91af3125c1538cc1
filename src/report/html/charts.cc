// Scales values to coordinates, picks ticks, and writes the paths of SVG.
#include "charts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "ptq/base/format.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Room around the plot for ticks and titles.
constexpr double kLeft = 56, kRight = 12, kTop = 12, kBottom = 42;
/// Points that people can point at; more are only drawn.
constexpr size_t kMostLabels = 400;

/// A coordinate with a decimal, without needless zeros.
std::string At(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  std::string found = text.data();
  if (found.ends_with(".0")) found.resize(found.size() - 2);
  return found == "-0" ? "0" : found;
}

struct Tick {
  double at = 0;
  std::string label;
};

/// Values along one side of the plot.
class Side {
 public:
  Side(const ChartAxis& axis, double from, double to) : axis_(axis), from_(from), to_(to) {
    for (const double value : axis.covers) {
      if (Shows(value)) Cover(value);
    }
  }

  [[nodiscard]] bool Shows(double value) const {
    return std::isfinite(value) && (axis_.scale == Scale::kLinear || value > 0);
  }
  void Cover(double value) {
    least_ = std::min(least_, Inner(value));
    most_ = std::max(most_, Inner(value));
  }
  /// Rounds the range to what ticks can stand at; call once after all values are covered.
  void Round() {
    if (axis_.scale == Scale::kLog) {
      // To 1, 2 or 5 times a power of ten, and never to a single one.
      least_ = std::log10(RoundNumber(std::pow(10.0, least_), /*up=*/false));
      most_ = std::log10(RoundNumber(std::pow(10.0, most_), /*up=*/true));
      if (!(most_ > least_ + 0.1)) most_ = least_ + 1;
      return;
    }
    if (axis_.from_zero) least_ = std::min(least_, 0.0);
    if (!(most_ > least_)) {
      const double room = axis_.whole || least_ == 0 ? 1 : std::abs(least_) * 0.1;
      most_ = least_ + room;
    }
    step_ = StepFor(most_ - least_);
    if (axis_.whole) return;
    least_ = std::floor(least_ / step_ + 1e-9) * step_;
    most_ = std::ceil(most_ / step_ - 1e-9) * step_;
  }
  [[nodiscard]] double Place(double value) const {
    return from_ + (Inner(value) - least_) / (most_ - least_) * (to_ - from_);
  }
  [[nodiscard]] std::vector<Tick> Ticks() const {
    std::vector<Tick> ticks;
    if (axis_.scale == Scale::kLog) {
      const bool fine = most_ - least_ < 2.5;
      const double every = std::max(1.0, std::ceil((most_ - least_) / 5));
      for (double power = std::floor(least_); power <= most_ + 1e-9; power += every) {
        for (const double times : {1.0, 2.0, 5.0}) {
          const double value = times * std::pow(10.0, power);
          const double at = Inner(value);
          const bool shown = at > least_ - 1e-9 && at < most_ + 1e-9 && (fine || times == 1);
          if (shown) ticks.push_back({Place(value), FormatIn(axis_.unit, value)});
        }
      }
      return ticks;
    }
    for (double value = std::ceil(least_ / step_ - 1e-9) * step_; value <= most_ + step_ * 1e-6;
         value += step_) {
      const double clean = std::abs(value) < step_ * 1e-6 ? 0 : value;
      ticks.push_back({Place(clean), FormatIn(axis_.unit, clean)});
    }
    return ticks;
  }

 private:
  [[nodiscard]] double Inner(double value) const {
    return axis_.scale == Scale::kLog ? std::log10(value) : value;
  }
  /// The nearest 1, 2 or 5 times a power of ten that is not above (below) a positive value.
  static double RoundNumber(double value, bool up) {
    const double power = std::pow(10.0, std::floor(std::log10(value) + 1e-9));
    double found = up ? 10 * power : power;
    for (const double times : {2.0, 5.0}) {
      if (!up && times * power <= value * (1 + 1e-9)) found = times * power;
    }
    for (const double times : {5.0, 2.0, 1.0}) {
      if (up && times * power >= value * (1 - 1e-9)) found = times * power;
    }
    return found;
  }
  /// 1, 2 or 5 times a power of ten (of two for bytes): at most five steps.
  [[nodiscard]] double StepFor(double range) const {
    if (axis_.unit == Unit::kBytes) {
      double step = 1;
      while (range / step > 5) step *= 2;
      return step;
    }
    const double power = std::pow(10.0, std::floor(std::log10(range / 5)));
    double step = power;
    for (const double times : {2.0, 5.0, 10.0}) {
      if (range / step > 5) step = times * power;
    }
    return axis_.whole ? std::max(1.0, std::round(step)) : step;
  }

  ChartAxis axis_;
  double from_, to_;
  double least_ = std::numeric_limits<double>::infinity();
  double most_ = -std::numeric_limits<double>::infinity();
  double step_ = 1;
};

Json TicksJson(const std::vector<Tick>& ticks) {
  Json json = Json::array();
  for (const Tick& tick : ticks) json.push_back({{"at", At(tick.at)}, {"label", tick.label}});
  return json;
}

Json FrameJson(const ChartFrame& frame) {
  return {{"title", frame.title},     {"description", frame.description},
          {"width", frame.width},     {"height", frame.height},
          {"left", At(kLeft)},        {"right", At(frame.width - kRight)},
          {"top", At(kTop)},          {"bottom", At(frame.height - kBottom)},
          {"x_title", frame.x.title}, {"y_title", frame.y.title}};
}

/// A path through the points, in their order.
std::string Path(const std::vector<ChartPoint>& points, const Side& x, const Side& y) {
  std::string path;
  for (const ChartPoint& point : points) {
    if (!x.Shows(point.x) || !y.Shows(point.y)) continue;
    path += (path.empty() ? "M" : "L") + At(x.Place(point.x)) + " " + At(y.Place(point.y));
  }
  return path;
}

/// Short lines with round ends look like dots, and take little room in the page.
std::string Dots(const std::vector<ChartPoint>& points, const Side& x, const Side& y) {
  std::string path;
  for (const ChartPoint& point : points) {
    if (!x.Shows(point.x) || !y.Shows(point.y)) continue;
    path += "M" + At(x.Place(point.x)) + " " + At(y.Place(point.y)) + "h0";
  }
  return path;
}

Json MarksJson(const ChartSeries& series, const Side& x, const Side& y) {
  Json marks = Json::array();
  for (const ChartPoint& point : series.points) {
    if (point.label.empty() || !x.Shows(point.x) || !y.Shows(point.y)) continue;
    marks.push_back(
        {{"x", At(x.Place(point.x))}, {"y", At(y.Place(point.y))}, {"label", point.label}});
  }
  return marks;
}

bool CoverAll(const std::vector<ChartSeries>& series, Side& x, Side& y) {
  bool any = false;
  for (const ChartSeries& one : series) {
    for (const ChartPoint& point : one.points) {
      if (!x.Shows(point.x) || !y.Shows(point.y)) continue;
      x.Cover(point.x);
      y.Cover(point.y);
      any = true;
    }
  }
  return any;
}

constexpr int kSmallWidth = 150, kSmallHeight = 36;

}  // namespace

std::string FormatIn(Unit unit, double value) {
  switch (unit) {
    case Unit::kPercent: return value == 0 ? "0 %" : FormatNumber(100 * value, 3) + " %";
    case Unit::kBytes: return FormatBytes(int64_t(std::llround(value)));
    case Unit::kNumber: break;
  }
  return FormatNumber(value, 4);
}

Json Chart(const ChartFrame& frame, const std::vector<ChartSeries>& series) {
  Side x(frame.x, kLeft, frame.width - kRight);
  Side y(frame.y, frame.height - kBottom, kTop);
  if (!CoverAll(series, x, y)) return nullptr;
  x.Round();
  y.Round();
  Json json = FrameJson(frame);
  json["x_ticks"] = TicksJson(x.Ticks());
  json["y_ticks"] = TicksJson(y.Ticks());
  size_t points = 0;
  for (const ChartSeries& one : series) points += one.points.size();
  auto& drawn = json["series"] = Json::array();
  for (const ChartSeries& one : series) {
    drawn.push_back({{"name", one.name},
                     {"colour", one.colour},
                     {"line", one.line ? Path(one.points, x, y) : ""},
                     {"dots", one.dots ? Dots(one.points, x, y) : ""},
                     {"marks", points <= kMostLabels ? MarksJson(one, x, y) : Json::array()}});
  }
  return json;
}

Json BarChart(const ChartFrame& frame, const std::vector<ChartBar>& bars) {
  if (bars.empty()) return nullptr;
  ChartAxis axis = frame.y;
  axis.from_zero = true;
  Side y(axis, frame.height - kBottom, kTop);
  y.Cover(0);
  for (const ChartBar& bar : bars) y.Cover(bar.value);
  y.Round();
  Json json = FrameJson(frame);
  json["y_ticks"] = TicksJson(y.Ticks());
  json["x_ticks"] = Json::array();
  auto& drawn = json["bars"] = Json::array();
  const double slot = (frame.width - kLeft - kRight) / double(bars.size());
  const size_t every = (bars.size() + 7) / 8;  // labels that fit
  for (size_t i = 0; i < bars.size(); ++i) {
    const double left = kLeft + double(i) * slot;
    const double top = y.Place(bars[i].value);
    drawn.push_back({{"x", At(left + slot * 0.1)},
                     {"y", At(top)},
                     {"width", At(slot * 0.8)},
                     {"height", At(frame.height - kBottom - top)},
                     {"label", bars[i].label + ": " + FormatIn(axis.unit, bars[i].value)}});
    if (i % every != 0) continue;
    json["x_ticks"].push_back({{"at", At(left + slot / 2)}, {"label", bars[i].label}});
  }
  return json;
}

Json Profile(const std::vector<double>& values, const std::string& title) {
  const double most = values.empty() ? 0 : *std::ranges::max_element(values);
  std::string path = "M0 " + std::to_string(kSmallHeight);
  for (size_t i = 0; i < values.size(); ++i) {
    const double height = most > 0 ? values[i] / most * (kSmallHeight - 2) : 0;
    path += "V" + At(kSmallHeight - height) + "H" +
            At(double(i + 1) * kSmallWidth / double(values.size()));
  }
  return {{"width", kSmallWidth},
          {"height", kSmallHeight},
          {"title", title},
          {"area", path + "V" + std::to_string(kSmallHeight) + "Z"}};
}

Json Curve(const std::vector<ChartSeries>& series, const std::optional<ChartPoint>& chosen,
           const std::string& title) {
  constexpr double kMargin = 5;
  Side x({}, kMargin, kSmallWidth - kMargin);
  Side y({}, kSmallHeight - kMargin, kMargin);
  if (!CoverAll(series, x, y)) return nullptr;
  x.Round();
  y.Round();
  Json json = {{"width", kSmallWidth}, {"height", kSmallHeight}, {"title", title}};
  for (const ChartSeries& one : series) {
    json["series"].push_back({{"colour", one.colour}, {"line", Path(one.points, x, y)}});
  }
  if (chosen.has_value() && x.Shows(chosen->x) && y.Shows(chosen->y)) {
    json["chosen"] = {{"x", At(x.Place(chosen->x))}, {"y", At(y.Place(chosen->y))}};
  }
  return json;
}

}  // namespace ptq
