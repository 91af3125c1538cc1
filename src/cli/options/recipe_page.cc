// docs/recipe.md: the keys of recipe files.
#include <algorithm>
#include <sstream>

#include "interface.h"
#include "recipe_file.h"

namespace ptq {
namespace {

constexpr char kIntroduction[] =
    R"(# Recipe files

Written by `tools/generate_docs.sh` from the program's own list of options.

`--config FILE` takes options from a file. A recipe is TOML or JSON with the same keys; a key is the
long name of an option of `quantize run` without its dashes, and `_` and `-` are the same. What is
given on the command line wins over the file.

```toml
method = "awq-gptq"
bits = 4
group_size = 32
exclude = ["*.o_proj", "/up_proj$/"]
requantize = true

[[rule]]               # other settings for some tensors (rules.md)
pattern = "*.down_proj"
bits = 8

[stats]                # only for quantize stats
calib_samples = 512
```

* FILE may also be the name of a recipe inside the program ([recipes.md](recipes.md)), or the `quantization_metadata.json` of a result, or its directory: the recipe in it
  makes the same result again from the same model and texts.
* Other commands take the keys that they have themselves, and pass over the rest. Keys below the name
  of a command are for it alone.
* A key that no option has, one that stands twice, and a value of the wrong kind are refused, with
  file and line.
* A list is written `["a", "b"]`. `null` and an empty list stand for the default. Rules are a list of
  tables ([rules.md](rules.md)), in JSON of objects: `"rule": [{"pattern": "*.down_proj", "bits": 8}]`.

| key | value | default | |
|---|---|---|---|
)";

std::string ValueCell(const OptionInfo& option) {
  if (option.kind == ValueKind::kNone) return "true, false";
  std::string text;
  for (const std::string& choice : option.choices) {
    text += (text.empty() ? "`" : ", `") + choice + "`";
  }
  if (!text.empty()) return text;
  static constexpr std::pair<std::string_view, const char*> kTypes[] = {
      {"N", "whole number"}, {"X", "number"},     {"SIZE", "size, such as `\"3GiB\"`"},
      {"MODEL", "path"},     {"FILE", "path"},    {"DIR", "path"},
      {"SECONDS", "number"}, {"PATTERN", "text"}, {"RULE", "table"}};
  const auto found =
      std::ranges::find(kTypes, option.type, [](const auto& type) { return type.first; });
  text = found == std::end(kTypes) ? "text" : found->second;
  return option.list ? "list of " + text + "s" : text;
}

}  // namespace

std::string RecipePage(const std::vector<CommandInfo>& commands) {
  const auto run = std::ranges::find(commands, kRecipeCommand, &CommandInfo::name);
  std::ostringstream page;
  page << kIntroduction;
  for (const OptionInfo& option : run->options) {
    for (const std::string& name : option.names) {
      if (!name.starts_with("--") || name == "--help") continue;
      std::string key = name.substr(2);
      std::ranges::replace(key, '-', '_');
      page << "| `" << key << "` | " << ValueCell(option) << " | "
           << (option.fallback.empty() ? "" : "`" + option.fallback + "`") << " | "
           << CLI::detail::find_and_replace(option.description, "|", "\\|") << " |\n";
    }
  }
  return page.str();
}

}  // namespace ptq
