#include <iostream>
#include <map>
#include <set>
#include <string>

#include "config_file.h"
#include <google/protobuf/stubs/logging.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "ptq/base/interrupt.h"
#include "ptq/cli/command.h"
#include "ptq/cli/version.h"

namespace ptq {
namespace {

void SetUpLogging(const GlobalOptions& global) {
  // Results go to standard output, so everything else goes to standard error.
  auto logger = spdlog::stderr_color_st("quantize");
  logger->set_pattern("%^%l%$: %v");
  logger->set_level(global.quiet     ? spdlog::level::err
                    : global.verbose ? spdlog::level::debug
                                     : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv, Ranks& ranks) {
  if (!ranks.is_root()) std::cout.rdbuf(nullptr);  // every rank would say the same
  // A malformed protobuf is reported once, by us.
  google::protobuf::SetLogHandler(nullptr);
  CLI::App app{"Quantizes ONNX transformer models after training.", "quantize"};
  app.require_subcommand(1);
  app.set_version_flag("--version", VersionText());
  app.fallthrough();
  GlobalOptions global{ranks};
  app.add_option("--threads", global.threads, "Threads to use; 0 means all processors")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("-v,--verbose", global.verbose, "Log more");
  app.add_flag("-q,--quiet", global.quiet, "Log errors only");

  app.config_formatter(std::make_shared<ConfigFile>(std::vector<std::string>{"run"}));
  app.set_config("--config", "", "Read options of run from a file: recipe.toml or recipe.json");
  app.allow_config_extras(CLI::config_extras_mode::error);

  std::map<const CLI::App*, std::unique_ptr<Command>> commands;
  std::set<const CLI::App*> shared;
  for (const CommandEntry& entry : CommandEntries()) {
    CLI::App* sub = app.add_subcommand(std::string(entry.name), std::string(entry.description));
    commands[sub] = entry.make(*sub);
    if (entry.shares_work) shared.insert(sub);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error, std::cout, std::cerr);
    if (app.get_subcommands().empty() && !app.remaining().empty()) {
      throw UsageError("there is no command '" + app.remaining().front() +
                       "'; see quantize --help");
    }
    throw UsageError(std::string(error.what()) + "; see quantize --help");
  }
  SetUpLogging(global);
  WatchForInterrupt();
  const CLI::App* const chosen = app.get_subcommands().front();
  if (ranks.size() > 1 && !shared.contains(chosen)) {
    throw UsageError("several ranks have nothing to share in '" + chosen->get_name() +
                     "'; start it without mpirun");
  }
  Command& command = *commands.at(chosen);
  return static_cast<int>(command.Run(global));
}

}  // namespace ptq
