// Names a result after its source and what was done to it.
#include "ptq/pipeline/default_destination.h"

#include "ptq/base/error.h"
#include "ptq/base/links.h"
#include "ptq/emit/sidecars.h"

namespace ptq {
namespace {

/// A cache is no place for results: they go to the working directory.
std::string NameOfCached(const CachedRepository& repository) {
  if (FindCachedRepository(std::filesystem::current_path())) {
    throw UsageError("the working directory lies in a cache, in the repository '" + repository.id +
                     "'; give --dst");
  }
  return repository.name();
}

}  // namespace

std::filesystem::path DefaultDestination(const Recipe& recipe) {
  auto source = std::filesystem::absolute(recipe.source).lexically_normal();
  if (source.filename().empty()) source = source.parent_path();
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(source, error);
  const bool is_named = !is_directory && source.filename() != "model.onnx";
  // A folder `onnx` is named after what it is a part of.
  auto result = SidecarDirectory(is_directory ? source : source.parent_path());
  if (const auto cached = FindCachedRepository(source)) {
    result = NameOfCached(*cached);
    if (is_named) result += "-" + source.stem().string();
  } else if (is_named) {
    result /= source.stem();
  }
  const std::string group =
      recipe.group_size == 0 ? "channel" : "g" + std::to_string(recipe.group_size);
  result += "-" + recipe.method + "_w" + std::to_string(recipe.bits) + "_" + group;
  if (!recipe.symmetric) result += "_asym";
  if (recipe.head != Precision::kKeep) result += "_head" + PrecisionName(recipe.head);
  if (recipe.embeddings != Precision::kKeep) result += "_emb" + PrecisionName(recipe.embeddings);
  if (recipe.convolutions != Precision::kKeep) {
    result += "_conv" + PrecisionName(recipe.convolutions);
  }
  if (recipe.format != "matmulnbits") result += "_" + recipe.format;
  if (!recipe.rules.empty()) result += "_rules";
  return result;
}

}  // namespace ptq
