// Options of the command line by what their values are: names, numbers, sizes. Values are read
// strictly, and what is wrong with one is said together with what would be right.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

/// A value that its option cannot take; the message quotes it, and does not name the option.
class BadValue : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The value in quotes, short enough for a line of text, without control characters.
[[nodiscard]] std::string Quoted(const std::string& value);

/// Index of the name that `text` is, whatever its case and whether '_' or '-' joins its words.
/// Throws BadValue that lists the names.
[[nodiscard]] size_t FindName(const std::string& text, const std::vector<std::string>& names);

struct WholeRange {
  int64_t least = 0;
  int64_t most = std::numeric_limits<int32_t>::max();
};
struct RealRange {
  double least = 0;
  double most = std::numeric_limits<double>::infinity();
};

/// Decimal digits and nothing else. Throws BadValue, also for what is out of the range.
[[nodiscard]] int64_t ParseWhole(const std::string& text, WholeRange range);
/// The same for a number that may have a fraction and an exponent; never NaN or infinite.
[[nodiscard]] double ParseReal(const std::string& text, RealRange range);
/// Bytes, with a unit or without: 3GiB, 900 MB, 1.5g. Units count in 1024. Throws BadValue.
[[nodiscard]] int64_t ParseSize(const std::string& text);

/// An option whose values are names. Help and completion offer them.
template <class T, class Target>
CLI::Option* AddNames(CLI::App& app, const std::string& option, Target& target,
                      const std::vector<std::pair<std::string, T>>& choices,
                      const std::string& description) {
  std::vector<std::string> names;
  std::vector<T> values;
  std::string type;
  for (const auto& [name, value] : choices) {
    names.push_back(name);
    values.push_back(value);
    type += (type.empty() ? "" : "|") + name;
  }
  return app
      .add_option_function<std::string>(
          option,
          [&target, names = std::move(names), values = std::move(values)](const std::string& text) {
            target = values[FindName(text, names)];
          },
          description)
      ->type_name(type);
}

/// The same with a default: the first.
template <class T>
CLI::Option* AddChoice(CLI::App& app, const std::string& option, T& target,
                       const std::vector<std::pair<std::string, T>>& choices,
                       const std::string& description) {
  return AddNames<T>(app, option, target, choices, description)->default_str(choices.front().first);
}

/// An option whose value is one of the names themselves.
inline CLI::Option* AddName(CLI::App& app, const std::string& option, std::string& target,
                            const std::vector<std::string>& names, const std::string& description) {
  std::vector<std::pair<std::string, std::string>> choices;
  choices.reserve(names.size());
  for (const std::string& name : names) choices.emplace_back(name, name);
  return AddNames<std::string>(app, option, target, choices, description)->default_str(target);
}

/// An option whose value is a whole number.
template <class Target>
CLI::Option* AddWhole(CLI::App& app, const std::string& option, Target& target, WholeRange range,
                      const std::string& description) {
  return app
      .add_option_function<std::string>(
          option,
          [&target, range](const std::string& text) {
            if constexpr (std::is_integral_v<Target>) {
              target = static_cast<Target>(ParseWhole(text, range));
            } else {
              target = static_cast<typename Target::value_type>(ParseWhole(text, range));
            }
          },
          description)
      ->type_name("N");
}

/// An option whose value is a number.
template <class Target>
CLI::Option* AddReal(CLI::App& app, const std::string& option, Target& target, RealRange range,
                     const std::string& description) {
  return app
      .add_option_function<std::string>(
          option, [&target, range](const std::string& text) { target = ParseReal(text, range); },
          description)
      ->type_name("X");
}

/// An option whose value is a number of bytes, `least` or more.
CLI::Option* AddSize(CLI::App& app, const std::string& option, int64_t& target,
                     const std::string& description, int64_t least = 1);

/// Type names of options whose values are paths, for help and completion: a model is an .onnx file
/// or a directory.
inline constexpr char kModelType[] = "MODEL";
inline constexpr char kFileType[] = "FILE";
inline constexpr char kDirectoryType[] = "DIR";
/// A file, or the name of a recipe inside the program.
inline constexpr char kRecipeType[] = "RECIPE";

}  // namespace ptq
