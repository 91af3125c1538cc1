// An option of the command line whose values are names.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

/// An option whose values are names; what is not among them is an error.
template <class T, class Target>
CLI::Option* AddNames(CLI::App& app, const std::string& option, Target& target,
                      std::vector<std::pair<std::string, T>> choices,
                      const std::string& description) {
  return app.add_option_function<std::string>(
      option,
      [&target, option, choices = std::move(choices)](const std::string& text) {
        for (const auto& [name, value] : choices) {
          if (name == text) {
            target = value;
            return;
          }
        }
        std::string names;
        for (const auto& choice : choices) names += (names.empty() ? "" : ", ") + choice.first;
        throw CLI::ValidationError(option, "'" + text + "' is not one of: " + names);
      },
      description);
}

/// The same with a default: the first.
template <class T>
void AddChoice(CLI::App& app, const std::string& option, T& target,
               std::vector<std::pair<std::string, T>> choices, const std::string& description) {
  const std::string fallback = choices.front().first;
  AddNames<T>(app, option, target, std::move(choices), description)->default_str(fallback);
}

}  // namespace ptq
