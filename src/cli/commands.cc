// The single explicit list of commands; each is made in the file of its name.
#include "ptq/cli/command.h"

namespace ptq {

std::unique_ptr<Command> MakeAnalyzeCommand(CLI::App& app);
std::unique_ptr<Command> MakeBatchCommand(CLI::App& app);
std::unique_ptr<Command> MakeBundleCommand(CLI::App& app);
std::unique_ptr<Command> MakeCalibBuildCommand(CLI::App& app);
std::unique_ptr<Command> MakeCalibCheckCommand(CLI::App& app);
std::unique_ptr<Command> MakeCalibCommand(CLI::App& app);
std::unique_ptr<Command> MakeCalibGenerateCommand(CLI::App& app);
std::unique_ptr<Command> MakeCleanCommand(CLI::App& app);
std::unique_ptr<Command> MakeCompareCommand(CLI::App& app);
std::unique_ptr<Command> MakeCompletionCommand(CLI::App& app);
std::unique_ptr<Command> MakeEvalCommand(CLI::App& app);
std::unique_ptr<Command> MakeForwardCommand(CLI::App& app);
std::unique_ptr<Command> MakeHelpCommand(CLI::App& app);
std::unique_ptr<Command> MakeInspectCommand(CLI::App& app);
std::unique_ptr<Command> MakeOperatorsCommand(CLI::App& app);
std::unique_ptr<Command> MakeRecalibrateCommand(CLI::App& app);
std::unique_ptr<Command> MakeRecipesCommand(CLI::App& app);
std::unique_ptr<Command> MakeRunCommand(CLI::App& app);
std::unique_ptr<Command> MakeStatsCommand(CLI::App& app);
std::unique_ptr<Command> MakeSweepCommand(CLI::App& app);
std::unique_ptr<Command> MakeVerifyCommand(CLI::App& app);
std::unique_ptr<Command> MakeVersionCommand(CLI::App& app);

std::span<const CommandEntry> CommandEntries() {
  static constexpr CommandEntry kEntries[] = {
      {"run", "Quantize a model", MakeRunCommand, /*shares_work=*/true},
      {"stats", "Collect calibration statistics once, for many runs", MakeStatsCommand,
       /*shares_work=*/true},
      {"calib", "Make and judge calibration data", MakeCalibCommand},
      {"calib build", "Choose a calibration set from a corpus or from logs", MakeCalibBuildCommand},
      {"calib check", "Judge a calibration set", MakeCalibCheckCommand},
      {"calib generate", "Let a language model write calibration texts", MakeCalibGenerateCommand},
      {"eval", "Quality of a language model or a text encoder, and its distance from another",
       MakeEvalCommand},
      {"analyze", "Show where a model is sensitive, and how errors grow", MakeAnalyzeCommand},
      {"compare", "Show two results or models side by side", MakeCompareCommand},
      {"sweep", "Try combinations of settings, and show what quality costs", MakeSweepCommand},
      {"batch", "Quantize a directory or a list of models", MakeBatchCommand},
      {"recalibrate", "Make a result again for other texts, when these differ enough",
       MakeRecalibrateCommand},
      {"bundle", "Make one result of two forms of a model, to switch between them",
       MakeBundleCommand},
      {"verify", "Check that a result is what was written, and works", MakeVerifyCommand},
      {"inspect", "Show a model, or what was done to it", MakeInspectCommand},
      {"forward", "Run a model on given arrays with the tool's own executor", MakeForwardCommand},
      {"clean", "List and remove what interrupted runs have left", MakeCleanCommand},
      {"recipes", "List the recipes inside the program, or print one", MakeRecipesCommand},
      {"operators", "List the operators that the executor runs", MakeOperatorsCommand},
      {"version", "Show the versions of the program and its libraries", MakeVersionCommand},
      {"help", "Show the options of a command", MakeHelpCommand},
      {"completion", "Print a script that completes words in a shell", MakeCompletionCommand},
  };
  return kEntries;
}

}  // namespace ptq
