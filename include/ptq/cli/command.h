// What a command of the tool is: it declares its options, and later does one thing.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ptq/base/error.h"
#include "ptq/base/ranks.h"

// Its header is a fourth of what a file that includes it costs to compile.
namespace CLI {
class App;
}

namespace ptq {

/// How progress is shown: auto is a bar on a terminal, and a line every 30 seconds elsewhere.
enum class ProgressChoice { kAuto, kPlain, kJson, kNone };

/// Options that every command has, and the processes that share its work.
struct GlobalOptions {
  Ranks& ranks;
  int threads = 0;  ///< 0: all processors
  bool verbose = false;
  bool quiet = false;
  ProgressChoice progress = ProgressChoice::kAuto;

  /// Threads of this rank: as asked for, or its part of the machine; 0: all processors.
  [[nodiscard]] int ThreadsOfRank() const { return threads > 0 ? threads : ranks.threads(); }
};

class Command {
 public:
  virtual ~Command() = default;
  /// Does the work; results on standard output. Throws ptq::Error.
  virtual ExitCode Run(const GlobalOptions& global) = 0;
};

/// One line of the list of commands (commands.cc).
struct CommandEntry {
  std::string_view name;
  std::string_view description;
  /// Adds the options to `app` and returns the command that will read them. Opens nothing.
  std::unique_ptr<Command> (*make)(CLI::App& app);
  bool shares_work = false;  ///< several ranks may run it together
};

[[nodiscard]] std::span<const CommandEntry> CommandEntries();

/// Parses the command line, runs the command, and returns the process's exit status. Throws
/// ptq::Error; the program's main is the only place that catches. Only rank 0 writes to standard
/// output.
[[nodiscard]] int RunCommandLine(int argc, const char* const* argv, Ranks& ranks);

/// A message as a terminal may see it, whatever names it quotes: one line of at most 1,000 bytes
/// without control characters.
[[nodiscard]] std::string OneLine(std::string_view message);
/// Whether --json is among the words, even if they cannot be understood.
[[nodiscard]] bool WantsJson(int argc, const char* const* argv);
/// Writes an error to standard output as scripts read it (docs/json-output.md).
void PrintErrorJson(ExitCode code, std::string_view message);

}  // namespace ptq
