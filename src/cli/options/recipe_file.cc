// Chooses the form of a recipe file, and reads JSON: a recipe, or a result's metadata.
#include "recipe_file.h"

#include <algorithm>
#include <array>

#include "built_in_recipes.h"
#include "suggest.h"
#include "values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 32;  ///< far more than a metadata file needs

int64_t LineAt(std::string_view text, size_t offset) {
  return 1 + std::ranges::count(text.substr(0, offset), '\n');
}

std::string Where(const std::string& name, int64_t line) {
  return Quoted(name) + " line " + std::to_string(line);
}

/// The line on which a key stands. A key of the same name in a section above may be taken for it.
int64_t LineOfKey(std::string_view text, const std::string& key) {
  const std::string quoted = DumpJson(Json(key));
  for (size_t at = text.find(quoted); at != std::string_view::npos;
       at = text.find(quoted, at + 1)) {
    const size_t next = text.find_first_not_of(" \t\r\n", at + quoted.size());
    if (next != std::string_view::npos && text[next] == ':') return LineAt(text, at);
  }
  return 1;
}

Json ParseShallow(std::string_view text, const std::string& name) {
  const auto shallow = [&](int depth, Json::parse_event_t, const Json&) {
    if (depth > kDeepest) throw UsageError(Quoted(name) + " is nested too deeply for a recipe");
    return true;
  };
  try {
    return Json::parse(text, shallow);
  } catch (const Json::exception& error) {
    const auto* parse = dynamic_cast<const Json::parse_error*>(&error);
    const size_t byte = parse == nullptr || parse->byte == 0 ? 0 : parse->byte - 1;
    throw UsageError(Where(name, LineAt(text, byte)) + ": not valid JSON" +
                     (byte >= text.size() ? ", the file ends too early" : "") +
                     "; compare with 'quantize help --format recipe'");
  }
}

std::string TextOf(const Json& value) {
  return value.is_string() ? value.get<std::string>() : DumpJson(value);
}

RecipeEntry::Kind KindOf(const Json& value) {
  if (value.is_boolean()) return RecipeEntry::Kind::kBool;
  return value.is_number() ? RecipeEntry::Kind::kNumber : RecipeEntry::Kind::kText;
}

RecipeEntry EntryOf(const Json& value, const std::string& key, const std::string& where) {
  if (value.is_structured() || value.is_null()) {
    throw UsageError(where + ": " + Quoted(key) +
                     " is a text, a number, true or false, or a list of these");
  }
  RecipeEntry entry;
  entry.key = key;
  entry.where = where;
  entry.values.push_back(TextOf(value));
  entry.kind = KindOf(value);
  return entry;
}

/// A list of objects: places are told by their numbers.
void AddTables(const Json& list, RecipeEntry& entry) {
  for (const Json& object : list) {
    const std::string where =
        entry.where + ": " + entry.key + " " + std::to_string(entry.tables.size() + 1);
    if (!object.is_object()) throw UsageError(where + " is no object, as the first one is");
    RecipeTable table{{}, where};
    for (const auto& [key, value] : object.items()) {
      if (!value.is_null()) table.entries.push_back(EntryOf(value, key, where));
    }
    entry.tables.push_back(std::move(table));
  }
}

/// Sections are objects at the top level; nothing lies deeper.
void AddItems(const Json& object, const std::string& section, std::string_view text,
              const std::string& name, std::vector<RecipeEntry>& entries) {
  for (const auto& [key, value] : object.items()) {
    RecipeEntry entry;
    entry.section = section;
    entry.key = key;
    entry.where = Where(name, LineOfKey(text, key));
    if (value.is_null() || (value.is_array() && value.empty())) continue;
    if (value.is_object() && section.empty()) {
      AddItems(value, key, text, name, entries);
      continue;
    }
    entry.is_list = value.is_array();
    if (entry.is_list && value.front().is_object()) {
      AddTables(value, entry);
      entries.push_back(std::move(entry));
      continue;
    }
    const Json list = entry.is_list ? value : Json::array({value});
    for (const Json& element : list) {
      const RecipeEntry one = EntryOf(element, key, entry.where);
      entry.values.push_back(one.values.front());
      entry.kind = one.kind;
    }
    entries.push_back(std::move(entry));
  }
}

}  // namespace

std::vector<RecipeEntry> ParseJsonRecipe(std::string_view text, const std::string& name) {
  const Json json = ParseShallow(text, name);
  const auto recipe = json.find("recipe");
  // A result's metadata, or what a command printed with --json.
  const bool whole = recipe != json.end() && recipe->is_object();
  std::vector<RecipeEntry> entries;
  AddItems(whole ? *recipe : json, "", text, name, entries);
  return entries;
}

std::vector<RecipeEntry> ParseRecipeText(std::string_view text, const std::string& name) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string_view::npos && text[first] == '{';
  return json ? ParseJsonRecipe(text, name) : ParseToml(text, name);
}

std::vector<RecipeEntry> ReadRecipeFile(const std::filesystem::path& path) {
  std::error_code error;
  const bool directory = std::filesystem::is_directory(path, error);
  const std::filesystem::path file = directory ? path / kMetadataFileName : path;
  if (!std::filesystem::exists(file, error)) {
    const BuiltInRecipe* const built_in = FindBuiltInRecipe(path.string());
    if (built_in != nullptr) return ParseToml(built_in->text, path.string());
    std::vector<std::string> names;
    for (const BuiltInRecipe& recipe : BuiltInRecipes()) names.emplace_back(recipe.name);
    throw InputError("there is no recipe file '" + file.string() +
                     "'; --config takes a .toml or .json file, the directory of a result, or one "
                     "of " +
                     Joined(names) + DidYouMean(path.string(), names));
  }
  return ParseRecipeText(ReadTextFile(file), file.string());
}

}  // namespace ptq
