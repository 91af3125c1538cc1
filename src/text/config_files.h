// Reads the JSON files that lie beside a tokenizer.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace ptq {

/// The object in a JSON file, {} when the file does not exist. Throws InputError when malformed.
[[nodiscard]] nlohmann::json ReadJsonObject(const std::filesystem::path& path);

/// The special tokens by role ("bos_token": "<s>", …), from tokenizer_config.json and, for the
/// roles it does not give, special_tokens_map.json. Roles without a token are absent.
[[nodiscard]] nlohmann::json ReadSpecialTokens(const std::filesystem::path& directory);

}  // namespace ptq
