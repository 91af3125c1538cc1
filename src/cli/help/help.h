// Help texts: options in groups, wrapped at the terminal's width, examples at the end.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

/// Columns of the terminal that standard output is; 80 when it is none. Between 40 and 100: longer
/// lines are hard to read.
[[nodiscard]] size_t HelpWidth();

/// `text` in lines of at most `width` characters, broken at blanks; the first begins at column
/// `used`, the others behind `indent` blanks. No blanks at ends of lines, no line end at the end.
[[nodiscard]] std::string Wrapped(std::string_view text, size_t width, size_t indent, size_t used);

/// A summary (lines of a name, then text from column 14 on) for a terminal of `width` columns:
/// longer texts go on below their beginning. Commands and code stay whole, to be copied.
[[nodiscard]] std::string FittedSummary(std::string_view text, size_t width);

/// How an option is written: "-o, --output DIR", "SRC, --src MODEL".
[[nodiscard]] std::string Signature(const CLI::Option& option);
/// What it is for, with the values that the signature has no room for, and the default.
[[nodiscard]] std::string Explanation(const CLI::Option& option);
/// "quantize run SRC [DST] [options]".
[[nodiscard]] std::string UsageLine(const CLI::App& app);

/// The groups of the app's visible options, in the order of their first option; those that all
/// commands have are the program's.
struct OptionGroup {
  std::string name;
  std::vector<const CLI::Option*> options;
};
[[nodiscard]] std::vector<OptionGroup> OptionGroups(const CLI::App& app);

/// The help of the program or of a command.
class HelpFormatter : public CLI::FormatterBase {
 public:
  explicit HelpFormatter(size_t width) : width_(width) {}
  [[nodiscard]] std::string make_help(const CLI::App* app, std::string name,
                                      CLI::AppFormatMode mode) const override;

 private:
  size_t width_;
};

}  // namespace ptq
