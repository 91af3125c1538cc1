// Reads the fallback's rules from the identity of a checkpoint.
#include "ptq/pipeline/interrupted_fallback.h"

#include "check_destination.h"
#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/base/staged_directory.h"
#include "ptq/pipeline/single_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Of one model, and of a directory of several.
constexpr const char* kIdentityFiles[] = {"checkpoint/identity.json", "identity.json"};

fs::path StagedOf(const Recipe& recipe) {
  if (!IsSingleFile(recipe.destination)) return StagedDirectory::PathFor(DestinationOf(recipe));
  return StagedDirectory::PathFor(
      ResultDirectory(fs::absolute(recipe.destination).lexically_normal()));
}

}  // namespace

std::vector<Rule> FallbackOfInterrupted(const Recipe& recipe) {
  std::vector<Rule> rules;
  std::error_code error;
  for (const char* const name : kIdentityFiles) {
    const fs::path file = StagedOf(recipe) / name;
    if (!fs::exists(file, error)) continue;
    const auto identity = ParseJson<Json>(ReadTextFile(file));
    if (!identity.is_object()) continue;
    for (const Json& entry : identity.value("fallback", Json::array())) {
      Rule rule;
      rule.model = entry.value("model", "");
      rule.pattern = entry.value("pattern", "");
      rule.form = entry.value("form", "");
      if (entry.contains("bits")) rule.bits = entry.at("bits").get<int>();
      rule.where = "a gate's fallback";
      rules.push_back(std::move(rule));
    }
    break;
  }
  return rules;
}

}  // namespace ptq
