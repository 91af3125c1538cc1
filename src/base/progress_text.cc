// Words and draws how far the work is; knows no terminal and no clock.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "ptq/base/format.h"
#include "ptq/base/progress.h"

namespace ptq {
namespace {

constexpr int64_t kBarCells = 20;
/// Columns without which the beginning of a name says nothing.
constexpr size_t kLeastDetail = 12;

/// Names come from files: whatever would move the cursor, or be wider than a column, is replaced.
std::string PlainSigns(std::string_view text) {
  std::string plain;
  for (const char c : text) {
    if ((c & 0xC0) == 0x80) continue;  // one sign for a character of several bytes
    plain += c >= ' ' && c <= '~' ? c : '?';
  }
  return plain;
}

std::string Phases(const ProgressState& state) {
  std::string text;
  for (const std::string& phase : state.phases) text += (text.empty() ? "" : ": ") + phase;
  return PlainSigns(text);
}

bool IsKnown(const ProgressState& state) { return state.total > 0; }

int64_t Done(const ProgressState& state) { return std::clamp<int64_t>(state.done, 0, state.total); }

std::string Percent(const ProgressState& state) {
  const double part = double(Done(state)) / double(state.total);
  return std::to_string(int64_t(100 * part)) + " %";
}

/// Negative when nothing can be said.
double SecondsLeft(const ProgressState& state) {
  const int64_t worked = Done(state) - state.skipped;
  if (!IsKnown(state) || worked <= 0) return -1;
  return state.seconds * double(state.total - Done(state)) / double(worked);
}

/// An estimate needs no fractions.
std::string About(double seconds) {
  if (seconds < 60) return std::to_string(std::lround(seconds)) + " s";
  return FormatSeconds(seconds);
}

std::string Time(const ProgressState& state) {
  const double left = SecondsLeft(state);
  return left < 0 ? About(state.seconds) : About(left) + " left";
}

std::string Cells(const ProgressState& state) {
  const int64_t full = kBarCells * Done(state) / state.total;
  return "[" + std::string(size_t(full), '#') + std::string(size_t(kBarCells - full), '-') + "]";
}

/// JSON text of a string.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), "\\u%04x", static_cast<unsigned>(c));
      quoted += code.data();
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string Number(double value) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

}  // namespace

std::string ProgressBar(const ProgressState& state, int width) {
  const auto room = size_t(std::max(0, width - 1));  // the cursor stands behind the last column
  const std::string counts = std::to_string(Done(state)) + "/" + std::to_string(state.total);
  // What is dropped first stands last in this list.
  const std::string time = "  " + Time(state);
  const std::string percent = IsKnown(state) ? "  " + Percent(state) : "";
  const std::string cells = IsKnown(state) ? "  " + Cells(state) : "";
  const std::string count = IsKnown(state) ? " " + counts : "";
  std::string line = Phases(state);
  size_t used = line.size();
  const auto takes = [&](const std::string& part) {
    if (used + part.size() > room) return false;
    used += part.size();
    return true;
  };
  const bool with_percent = takes(percent);
  const bool with_time = takes(time);
  const bool with_count = takes(count);
  const bool with_cells = takes(cells);
  if (with_count) line += count;
  if (with_cells) line += cells;
  if (with_percent) line += percent;
  if (with_time) line += time;
  const std::string detail = PlainSigns(state.detail);
  if (!detail.empty() && line.size() + kLeastDetail <= room) line += "  " + detail;
  if (line.size() <= room) return line;
  line.resize(room);
  if (room > 3) line.replace(room - 3, 3, "...");
  return line;
}

std::string ProgressLine(const ProgressState& state) {
  std::string line = Phases(state) + ": ";
  if (IsKnown(state)) {
    line += std::to_string(Done(state)) + " of " + std::to_string(state.total) + " (" +
            Percent(state) + "), ";
  }
  line += Time(state);
  if (!state.detail.empty()) line += "; " + PlainSigns(state.detail);
  return line;
}

std::string ProgressJson(const ProgressState& state) {
  std::string phase;
  for (const std::string& each : state.phases) phase += (phase.empty() ? "" : ": ") + each;
  const double left = SecondsLeft(state);
  return "{\"progress\": {\"phase\": " + Quoted(phase) + ", \"detail\": " + Quoted(state.detail) +
         ", \"done\": " + std::to_string(state.done) +
         ", \"total\": " + (IsKnown(state) ? std::to_string(state.total) : "null") +
         ", \"seconds\": " + Number(state.seconds) +
         ", \"seconds_left\": " + (left < 0 ? "null" : Number(left)) + "}}";
}

}  // namespace ptq
