// quantize calib: lists the commands about calibration data.
#include <iostream>

#include "help/help.h"
#include "options/find_command.h"
#include "options/interface.h"

#include "ptq/cli/command.h"

namespace ptq {
namespace {

class CalibCommand : public Command {
 public:
  explicit CalibCommand(CLI::App& app) : app_(app) {
    app.group("");  // its members are in the lists
    std::string text = "Commands:";
    for (const CommandEntry& entry : CommandEntries()) {
      const std::string name(entry.name);
      if (FamilyOf(name) != app.get_name()) continue;
      text += "\n  quantize " + name + std::string(24 - name.size(), ' ') +
              std::string(entry.description);
    }
    app.footer(text + "\n\n'quantize help calib build' shows the options of one.");
  }

  ExitCode Run(const GlobalOptions&) override {
    std::cout << app_.help();
    return ExitCode::kDone;
  }

 private:
  CLI::App& app_;
};

}  // namespace

std::unique_ptr<Command> MakeCalibCommand(CLI::App& app) {
  return std::make_unique<CalibCommand>(app);
}

}  // namespace ptq
