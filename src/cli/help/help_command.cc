// quantize help: the help of a command, and the whole interface in other forms.
#include <iostream>
#include <vector>

#include "json_output.h"
#include "options/find_command.h"
#include "options/interface.h"
#include "options/values.h"

#include "ptq/cli/command.h"

namespace ptq {
namespace {

enum class HelpForm { kText, kJson, kMan, kRecipe };

class HelpCommand : public Command {
 public:
  explicit HelpCommand(CLI::App& app) : app_(*app.get_parent()) {
    app.add_option("command", words_, "The command; without it, the program")
        ->type_name(CLI::detail::join(Names(), "|"))
        ->group("Input");
    AddChoice<HelpForm>(app, "--format", form_,
                        {{"text", HelpForm::kText},
                         {"json", HelpForm::kJson},
                         {"man", HelpForm::kMan},
                         {"recipe", HelpForm::kRecipe}},
                        "text; json: commands, options and values for scripts; man: the manual "
                        "page; recipe: the keys of recipe files")
        ->group("Output");
    app.add_flag_callback(
           "--json", [this] { form_ = HelpForm::kJson; }, "The same as --format json")
        ->group("Output");
    app.footer("Examples:\n  quantize help run\n  quantize help --format man | man -l -");
  }

  ExitCode Run(const GlobalOptions&) override {
    const CLI::App& about = Chosen();
    switch (form_) {
      case HelpForm::kText: std::cout << about.help(); break;
      case HelpForm::kJson: PrintJson("help", ToJson(Interface(app_))); break;
      case HelpForm::kMan: std::cout << ManPage(Interface(app_)); break;
      case HelpForm::kRecipe: std::cout << RecipePage(Interface(app_)); break;
    }
    return ExitCode::kDone;
  }

 private:
  static std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const CommandEntry& entry : CommandEntries()) names.emplace_back(entry.name);
    return names;
  }

  [[nodiscard]] const CLI::App& Chosen() const {
    if (words_.empty()) return app_;
    const std::string command = CLI::detail::join(words_, " ");
    for (const CLI::App* known : CommandsOf(app_)) {
      if (known->get_name() == command) return *known;
    }
    throw UsageError(NoSuchCommand(app_, command));
  }

  CLI::App& app_;
  std::vector<std::string> words_;
  HelpForm form_ = HelpForm::kText;
};

}  // namespace

std::unique_ptr<Command> MakeHelpCommand(CLI::App& app) {
  return std::make_unique<HelpCommand>(app);
}

}  // namespace ptq
