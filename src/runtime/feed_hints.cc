// Reads from the configuration beside a model what its caches look like.
#include <algorithm>
#include <filesystem>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/runtime/feeds.h"

namespace ptq {
namespace {

int64_t FirstInt(const nlohmann::json& config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (config.contains(key) && config[key].is_number_integer()) return config[key].get<int64_t>();
  }
  return 0;
}

/// The object in a JSON file; empty when there is none.
nlohmann::json ReadObject(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return nlohmann::json::object();
  auto json = ParseJson<nlohmann::json>(ReadTextFile(path));
  return json.is_object() ? json : nlohmann::json::object();
}

}  // namespace

FeedHints ReadFeedHints(const std::filesystem::path& model_directory) {
  nlohmann::json config = ReadObject(model_directory / "config.json");
  if (config.empty()) {  // ONNX Runtime GenAI's form
    const auto genai = ReadObject(model_directory / "genai_config.json");
    const nlohmann::json::json_pointer decoder("/model/decoder");
    if (genai.contains(decoder) && genai[decoder].is_object()) config = genai[decoder];
  }
  if (config.empty() && model_directory.filename() == "onnx") {
    return ReadFeedHints(model_directory.parent_path());
  }
  FeedHints hints;
  const int64_t heads =
      FirstInt(config, {"num_attention_heads", "n_head", "num_heads", "decoder_attention_heads"});
  const int64_t hidden = FirstInt(config, {"hidden_size", "n_embd", "d_model"});
  hints.layers = FirstInt(config, {"num_hidden_layers", "n_layer", "num_layers"});
  hints.kv_heads = FirstInt(config, {"num_key_value_heads", "num_kv_heads"});
  if (hints.kv_heads == 0) hints.kv_heads = heads;
  hints.head_size = FirstInt(config, {"head_dim", "head_size", "d_kv"});
  if (hints.head_size == 0 && heads > 0) hints.head_size = hidden / heads;
  hints.pad_token = std::max<int64_t>(0, FirstInt(config, {"pad_token_id"}));
  return hints;
}

}  // namespace ptq
