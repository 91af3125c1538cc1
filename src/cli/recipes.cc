// quantize recipes: lists the recipes inside the program, or prints one.
#include <iostream>
#include <string>
#include <vector>

#include "json_output.h"
#include "options/built_in_recipes.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/cli/command.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

class RecipesCommand : public Command {
 public:
  explicit RecipesCommand(CLI::App& app) {
    std::vector<std::string> names;
    for (const BuiltInRecipe& recipe : BuiltInRecipes()) names.emplace_back(recipe.name);
    AddName(app, "name", name_, names, "The recipe to print; without one, all are listed")
        ->group("Input");
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Output");
    app.footer(
        "Examples:\n"
        "  quantize recipes\n"
        "  quantize recipes laptop > mine.toml       to change it\n"
        "  quantize run model/ out/ --config laptop");
  }

  ExitCode Run(const GlobalOptions&) override {
    if (json_) {
      nlohmann::ordered_json json;
      auto& list = json["recipes"] = nlohmann::ordered_json::array();
      for (const BuiltInRecipe& recipe : BuiltInRecipes()) {
        if (!name_.empty() && name_ != recipe.name) continue;
        list.push_back(
            {{"name", recipe.name}, {"description", recipe.Description()}, {"text", recipe.text}});
      }
      PrintJson("recipes", json);
    } else if (!name_.empty()) {
      std::cout << FindBuiltInRecipe(name_)->text;
    } else {
      TextTable table({{"recipe"}, {"for"}});
      for (const BuiltInRecipe& recipe : BuiltInRecipes()) {
        table.AddRow({std::string(recipe.name), std::string(recipe.Description())});
      }
      std::cout << table.Text();
    }
    return ExitCode::kDone;
  }

 private:
  std::string name_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeRecipesCommand(CLI::App& app) {
  return std::make_unique<RecipesCommand>(app);
}

}  // namespace ptq
