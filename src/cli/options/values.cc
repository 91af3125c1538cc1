// Reads the values of options strictly; messages name the value and what would be right.
#include "values.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "suggest.h"

#include "ptq/base/format.h"

namespace ptq {
namespace {

constexpr size_t kLongestQuoted = 80;

template <class T>
std::string NumberText(T value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

template <class Range>
std::string RangeText(const Range& range, bool bounded) {
  if (!bounded) return " of " + NumberText(range.least) + " or more";
  return " from " + NumberText(range.least) + " to " + NumberText(range.most);
}

/// The whole of `text` as a number; the error code otherwise.
template <class T>
std::errc Read(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return error;
  return end == text.data() + text.size() ? std::errc() : std::errc::invalid_argument;
}

}  // namespace

std::string Quoted(const std::string& value) {
  std::string text = "'";
  for (const char c : value.substr(0, kLongestQuoted)) {
    text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  if (value.size() > kLongestQuoted) {
    while (text.size() > 1 && (text.back() & 0x80) != 0) text.pop_back();  // no half a character
    text += "...";
  }
  return text + "'";
}

size_t FindName(const std::string& text, const std::vector<std::string>& names) {
  const std::string wanted = Normalized(text);
  for (size_t i = 0; i < names.size(); ++i) {
    if (Normalized(names[i]) == wanted) return i;
  }
  throw BadValue(Quoted(text) + " is none of " + Joined(names) + DidYouMean(text, names));
}

int64_t ParseWhole(const std::string& text, WholeRange range) {
  int64_t value = 0;
  const std::errc error = Read(text, value);
  if (error == std::errc() && value >= range.least && value <= range.most) return value;
  const bool too_large =
      error == std::errc::result_out_of_range || (error == std::errc() && value > range.most);
  const bool bounded = too_large || range.most < std::numeric_limits<int32_t>::max();
  throw BadValue(Quoted(text) + " is not a whole number" + RangeText(range, bounded));
}

double ParseReal(const std::string& text, RealRange range) {
  double value = 0;
  const bool read = Read(text, value) == std::errc() && std::isfinite(value);
  if (read && value >= range.least && value <= range.most) return value;
  throw BadValue(Quoted(text) + " is not a number" + RangeText(range, std::isfinite(range.most)));
}

int64_t ParseSize(const std::string& text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const size_t unit = std::min(text.find_first_not_of(' ', digits), text.size());
  double number = 0;
  bool right = Read(std::string_view(text).substr(0, digits), number) == std::errc();
  std::string name = Normalized(text.substr(unit));
  if (name.ends_with('b')) name.pop_back();
  if (name.size() == 2 && name.back() == 'i') name.pop_back();
  constexpr std::string_view kUnits = "kmgt";
  const size_t power = name.empty() ? 0 : kUnits.find(name) + 1;
  right = right && name.size() <= 1 && (name.empty() || power > 0);
  const double bytes = std::floor(std::ldexp(number, static_cast<int>(10 * power)));
  if (right && bytes >= 1 && bytes < std::ldexp(1.0, 62)) return static_cast<int64_t>(bytes);
  throw BadValue(Quoted(text) + " is not a size; write it like 3GiB, 900MiB or 1048576");
}

CLI::Option* AddSize(CLI::App& app, const std::string& option, int64_t& target,
                     const std::string& description, int64_t least) {
  return app
      .add_option_function<std::string>(
          option,
          [&target, least](const std::string& text) {
            const int64_t bytes = ParseSize(text);
            if (bytes < least) {
              throw BadValue(Quoted(text) + " is too small; the least is " + FormatBytes(least));
            }
            target = bytes;
          },
          description)
      ->type_name("SIZE");
}

}  // namespace ptq
