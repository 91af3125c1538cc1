// Recipes as files: TOML (or INI) by the command-line library, JSON by the same keys.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

/// Reads options of one command from a file; keys are the options' names without dashes, at the top
/// level or below the command's name. Lists become repeated options.
class ConfigFile : public CLI::ConfigTOML {
 public:
  explicit ConfigFile(std::vector<std::string> commands) : commands_(std::move(commands)) {}
  [[nodiscard]] std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

 private:
  std::vector<std::string> commands_;
};

}  // namespace ptq
