// The loop over tokens, and the files that tell where texts end.
#include "ptq/evaluate/generation.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/emit/sidecars.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

nlohmann::json ObjectIn(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return nlohmann::json::object();
  auto json = ParseJson<nlohmann::json>(ReadTextFile(path));
  return json.is_object() ? json : nlohmann::json::object();
}

/// The object of that name within another; empty when there is none.
nlohmann::json Part(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_object() ? *found : nlohmann::json::object();
}

std::set<int64_t> EndTokensIn(const nlohmann::json& config) {
  std::set<int64_t> tokens;
  const nlohmann::json found = config.value("eos_token_id", nlohmann::json());
  if (found.is_number_integer()) tokens.insert(found.get<int64_t>());
  if (!found.is_array()) return tokens;
  for (const auto& token : found) {
    if (token.is_number_integer()) tokens.insert(token.get<int64_t>());
  }
  return tokens;
}

int64_t ContextIn(const nlohmann::json& config) {
  for (const char* key : {"max_position_embeddings", "n_positions", "context_length", "n_ctx",
                          "max_sequence_length", "seq_length"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_number_integer()) continue;
    if (found->get<int64_t>() > 0) return found->get<int64_t>();
  }
  return 0;
}

}  // namespace

int64_t LikeliestToken(std::span<const float> logits) {
  int64_t best = -1;
  for (int64_t i = 0; i < std::ssize(logits); ++i) {
    const float value = logits[size_t(i)];
    if (!std::isnan(value) && (best < 0 || value > logits[size_t(best)])) best = i;
  }
  if (best >= 0) return best;
  throw InputError("the model gives no logits that are numbers, so no token is the likeliest");
}

GenerationLimits ReadGenerationLimits(const fs::path& model) {
  std::error_code error;
  const fs::path directory =
      SidecarDirectory(fs::is_directory(model, error) ? model : model.parent_path());
  const nlohmann::json genai = ObjectIn(directory / "genai_config.json");
  const nlohmann::json config = ObjectIn(directory / "config.json");
  GenerationLimits limits;
  for (const nlohmann::json& found : {ObjectIn(directory / "generation_config.json"), config,
                                      Part(config, "text_config"), Part(genai, "model")}) {
    if (limits.end_tokens.empty()) limits.end_tokens = EndTokensIn(found);
    if (limits.context == 0) limits.context = ContextIn(found);
  }
  return limits;
}

std::vector<int64_t> Generate(const ModelRunner& model, const std::vector<int64_t>& prompt,
                              const TokenChooser& choose, const GenerationLimits& limits) {
  if (prompt.empty()) throw InputError("a text cannot be continued that has no tokens");
  const bool behind = model.is_behind_encoder();
  int64_t most = limits.new_tokens;
  if (limits.context > 0) {
    most = std::min(most, limits.context - (behind ? 0 : std::ssize(prompt)));
  }
  if (most <= 0 && limits.new_tokens > 0) {
    throw InputError("a prompt of " + std::to_string(prompt.size()) +
                     " tokens leaves no room in the " + std::to_string(limits.context) +
                     " tokens that the model reads");
  }
  std::vector<int64_t> generated;
  TextState state;
  std::vector<int64_t> next = prompt;
  if (behind) std::swap(state.text.ids, next);
  while (std::ssize(generated) < most) {
    const Tensor logits = model.Next(next, state);
    const int64_t token = choose(logits.data<float>());
    if (token < 0 || token >= logits.size()) {
      throw InputError("token id " + std::to_string(token) + " is outside the vocabulary of " +
                       std::to_string(logits.size()) + " logits");
    }
    if (limits.end_tokens.contains(token)) break;
    generated.push_back(token);
    if (limits.enough && limits.enough(generated)) break;
    next = {token};
  }
  return generated;
}

}  // namespace ptq
