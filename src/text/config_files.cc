// Reads JSON objects, and special tokens in the forms that transformers has written.
#include "config_files.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

/// A token is a string or an object that has it as "content"; empty for anything else (null).
std::string TokenText(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string()) {
    return token["content"].get<std::string>();
  }
  return {};
}

void AddSpecialTokens(const Json& config, Json& tokens) {
  for (const char* role : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    if (tokens.contains(role) || !config.contains(role)) continue;
    if (std::string text = TokenText(config[role]); !text.empty()) tokens[role] = std::move(text);
  }
  constexpr const char* kMore = "additional_special_tokens";
  if (tokens.contains(kMore) || !config.contains(kMore) || !config[kMore].is_array()) return;
  Json more = Json::array();
  for (const Json& token : config[kMore]) more.push_back(TokenText(token));
  tokens[kMore] = std::move(more);
}

}  // namespace

Json ReadJsonObject(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return Json::object();
  Json json;
  try {
    const std::string text = ReadTextFile(path);
    if (IsTooDeep(text)) throw InputError(path.string() + ": JSON that is nested without end");
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    throw InputError(path.string() + ": not valid JSON (" + JsonReason(error) + ")");
  }
  if (!json.is_object()) throw InputError(path.string() + ": expected a JSON object");
  return json;
}

Json ReadSpecialTokens(const std::filesystem::path& directory) {
  Json tokens = Json::object();
  AddSpecialTokens(ReadJsonObject(directory / "tokenizer_config.json"), tokens);
  AddSpecialTokens(ReadJsonObject(directory / "special_tokens_map.json"), tokens);
  return tokens;
}

}  // namespace ptq
