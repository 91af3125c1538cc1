// Declares the global options, parses the words, and runs the command that they name.
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "help/help.h"
#include "logging.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include "options/words.h"
#include <google/protobuf/stubs/logging.h>

#include "ptq/base/interrupt.h"
#include "ptq/cli/command.h"
#include "ptq/cli/version.h"

namespace ptq {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  quantize run model/                  4-bit weights, beside the model\n"
    "  quantize run model/ out/ --dry-run   what would be done, and how large\n"
    "  quantize inspect out/                what was done\n"
    "  quantize help run                    all options of run";

void AddGlobalOptions(CLI::App& app, GlobalOptions& global) {
  app.set_help_flag("-h,--help", "Show this help and end");
  app.get_help_ptr()->group("General");
  app.option_defaults()->group("General");
  app.add_flag_callback(
      "-V,--version", [] {}, "Show the versions of the program and its libraries and end");
  AddWhole(app, "--threads", global.threads, {.least = 0, .most = 4096},
           "Threads to use; 0: all processors")
      ->default_str("0");
  app.add_flag("-v,--verbose", global.verbose, "Say what happens to every linear");
  app.add_flag("-q,--quiet", global.quiet,
               "Print nothing but errors, and what --json or a table was asked for");
  AddChoice<ProgressChoice>(app, "--progress", global.progress,
                            {{"auto", ProgressChoice::kAuto},
                             {"plain", ProgressChoice::kPlain},
                             {"json", ProgressChoice::kJson},
                             {"none", ProgressChoice::kNone}},
                            "How far the work is, on standard error: auto (a bar on a terminal, "
                            "else a line every 30 seconds), plain lines, json or none");
  AddConfigOption(app);
}

const CommandEntry& EntryOf(const CLI::App& command) {
  return *std::ranges::find(CommandEntries(), command.get_name(), &CommandEntry::name);
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv, Ranks& ranks) {
  if (!ranks.is_root()) std::cout.rdbuf(nullptr);  // every rank would say the same
  // A malformed protobuf is reported once, by us.
  google::protobuf::SetLogHandler(nullptr);
  CLI::App app{"Quantizes ONNX transformer models after training", "quantize"};
  app.formatter(std::make_shared<HelpFormatter>(HelpWidth()));
  app.footer(kExamples);
  GlobalOptions global{ranks};
  AddGlobalOptions(app, global);
  std::map<const CLI::App*, std::unique_ptr<Command>> commands;
  for (const CommandEntry& entry : CommandEntries()) {
    // Set afterwards: the library takes no name of two words at once.
    CLI::App* sub = app.add_subcommand("", std::string(entry.description));
    sub->name(std::string(entry.name));
    commands[sub] = entry.make(*sub);
  }
  const ParsedWords parsed = ParseWords(app, {argv + std::min(1, argc), argv + argc});
  if (parsed.help) {
    std::cout << (parsed.command == nullptr ? app : *parsed.command).help();
    return 0;
  }
  if (parsed.version) {
    std::cout << VersionText() << '\n';
    return 0;
  }
  if (parsed.command == nullptr) {
    std::cout << app.help();
    throw UsageError("no command is given; name one, as in 'quantize run model.onnx'");
  }
  SetUpLogging(global);
  WatchForInterrupt(ranks.is_root());
  if (ranks.size() > 1 && !EntryOf(*parsed.command).shares_work) {
    throw UsageError("several ranks have nothing to share in '" + parsed.command->get_name() +
                     "'; start it without mpirun");
  }
  return static_cast<int>(commands.at(parsed.command)->Run(global));
}

}  // namespace ptq
