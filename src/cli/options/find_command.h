// Finds the command among the words of a command line. A command has a name of one word, or of two
// ("calib build").
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

/// One word that begins with a dash, taken apart.
struct OptionWord {
  std::string shown;  ///< as typed, without a value
  std::string name;   ///< without dashes, '_' as '-'
  std::optional<std::string> value;
};

[[nodiscard]] bool LooksLikeOption(const std::string& word);
[[nodiscard]] OptionWord TakeApart(const std::string& word);
[[nodiscard]] std::vector<CLI::App*> CommandsOf(const CLI::App& app);

struct FoundCommand {
  CLI::App* command = nullptr;  ///< null: none is named
  size_t at = 0;                ///< place of its name
  std::string unknown;          ///< what stands in its place and is no command
};

/// Looks at the first word that is neither an option nor an option's value. A name of two words
/// becomes one of `words`.
[[nodiscard]] FoundCommand FindCommand(CLI::App& app, std::vector<std::string>& words);

/// What to say of a word that is no command.
[[nodiscard]] std::string NoSuchCommand(const CLI::App& app, const std::string& word);

/// "calib" of "calib build"; empty for a name of one word.
[[nodiscard]] std::string FamilyOf(const std::string& command);

}  // namespace ptq
