// Reads manifests, and names every result after its recipe.
#include "batch_manifest.h"

#include <algorithm>
#include <cctype>

#include "recipe_file.h"
#include "recipe_words.h"
#include "suggest.h"
#include "values.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/flows/find_models.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

constexpr char kJobKey[] = "job";

BatchModel ModelOf(const RecipeTable& table, const fs::path& directory) {
  BatchModel model;
  for (const RecipeEntry& entry : table.entries) {
    const std::string& value = entry.values.front();
    const std::string key = Normalized(entry.key);
    if (key == "source") {
      model.source = directory / value;
    } else if (key == "recipe") {
      model.recipes.push_back(value);
    } else if (key == "base") {
      model.base = value;
    } else if (key == "id") {
      model.id = value;
    } else {
      try {
        model.words = WithSetting(std::move(model.words), entry.key, value);
      } catch (const UsageError& error) {
        throw UsageError(entry.where + ": " + error.what());
      }
    }
  }
  if (model.source.empty()) throw UsageError(table.where + ": a job needs the 'source' of a model");
  const FoundModel found = FindModels(model.source).at(0);  // its size
  model.bytes = found.bytes;
  if (model.base.empty()) model.base = model.source.lexically_normal().stem().string();
  return model;
}

/// A name of a file for what may be a path or hold blanks.
std::string FileName(std::string text) {
  std::ranges::replace_if(
      text,
      [](unsigned char c) {
        return !std::isalnum(c) && c != '.' && c != '-' && c != '_' && c != '+' && c < 0x80;
      },
      '-');
  return text;
}

using Field = std::pair<std::string, std::string>;

std::vector<Field> FieldsOf(const BatchModel& model, const std::string& recipe,
                            const Recipe& made) {
  return {{"{base}", model.base},
          {"{recipe}", recipe.empty() ? "default" : fs::path(recipe).stem().string()},
          {"{method}", made.method},
          {"{bits}", std::to_string(IsHalfMethod(made) ? 16 : made.bits)},
          {"{group}", made.group_size == 0 ? "channel" : std::to_string(made.group_size)},
          {"{head}", "head" + PrecisionName(made.head)},
          {"{form}", made.format}};
}

std::string Filled(const std::string& name, const std::vector<Field>& fields) {
  std::string text = name;
  for (const auto& [field, value] : fields) {
    for (size_t at = text.find(field); at != std::string::npos; at = text.find(field, at)) {
      text.replace(at, field.size(), FileName(value));
      at += FileName(value).size();
    }
  }
  if (text.find_first_of("{}") == std::string::npos) return FileName(text);
  std::vector<std::string> names;
  names.reserve(fields.size());
  for (const auto& [field, value] : fields) names.push_back(field);
  throw UsageError("--name: " + Quoted(name) + " holds something in braces that is none of " +
                   Joined(names));
}

BatchJob JobOf(const BatchModel& model, const std::string& recipe,
               const std::vector<std::string>& words, const std::string& name) {
  BatchJob job;
  job.source = model.source;
  job.base = model.base;
  job.recipe = recipe;
  job.bytes = model.bytes;
  if (!recipe.empty()) job.words.push_back("--config=" + recipe);
  job.words.insert(job.words.end(), words.begin(), words.end());
  for (const std::string& word : model.words) {
    const size_t equals = word.find('=');
    const std::string option = word.substr(0, equals + 1);
    std::erase_if(job.words, [&](const std::string& each) { return each.starts_with(option); });
    job.words.push_back(word);
  }
  std::vector<std::string> all = job.words;
  all.push_back("--src=" + model.source.string());
  const Recipe made = ParseRecipe(all);
  job.id = model.id.empty() ? Filled(name, FieldsOf(model, recipe, made)) : FileName(model.id);
  if (job.id.empty() || job.id.starts_with('.')) {
    throw UsageError(Quoted(job.id) + " is no name of a result; see --name");
  }
  return job;
}

}  // namespace

std::vector<BatchModel> ReadManifest(const fs::path& file) {
  std::vector<BatchModel> models;
  for (const RecipeEntry& entry : ParseRecipeText(ReadTextFile(file), file.string())) {
    if (entry.key != kJobKey || entry.tables.empty()) {
      throw UsageError(entry.where + ": a manifest holds [[job]] tables, not " + Quoted(entry.key) +
                       "; settings of all jobs are a recipe's (--recipe)");
    }
    for (const RecipeTable& table : entry.tables) {
      models.push_back(ModelOf(table, file.parent_path()));
    }
  }
  if (models.empty()) throw InputError("'" + file.string() + "' holds no [[job]]");
  return models;
}

std::vector<BatchJob> ExpandJobs(const std::vector<BatchModel>& models,
                                 const std::vector<std::string>& recipes,
                                 const std::vector<std::string>& words, const std::string& name) {
  std::vector<BatchJob> jobs;
  for (const BatchModel& model : models) {
    std::vector<std::string> own = model.recipes.empty() ? recipes : model.recipes;
    if (own.empty()) own.emplace_back();
    for (const std::string& recipe : own) jobs.push_back(JobOf(model, recipe, words, name));
  }
  return jobs;
}

}  // namespace ptq
