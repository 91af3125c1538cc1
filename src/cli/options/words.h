// Assigns the words of a command line, and the entries of a recipe file, to the options that the
// commands declare. Takes the place of CLI11's own parser: its errors name neither the nearest
// right word nor where a wrong one stands.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

struct ParsedWords {
  CLI::App* command = nullptr;  ///< null: none was named
  bool help = false;            ///< -h or --help is among the words: nothing else was looked at
  bool version = false;         ///< the same for -V and --version
};

/// Runs the callbacks of all options that are given. Unknown words are refused first, then wrong
/// values, then missing ones; nothing is opened but the recipe file. Options stand anywhere; '_' in
/// their names is '-'. Throws UsageError, InputError for a recipe file that cannot be read.
[[nodiscard]] ParsedWords ParseWords(CLI::App& app, const std::vector<std::string>& words);

}  // namespace ptq
