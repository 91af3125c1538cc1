// Knows how GPT-2, RoBERTa and Qwen2 cut text and add tokens, and writes that as JSON.
#include "byte_level_bpe.h"

#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "config_files.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

enum class Family { kGpt2, kQwen2, kRoberta };

/// Where Qwen2 cuts text before merging: contractions, words with one leading symbol, single
/// digits, punctuation runs, line breaks, spaces (regular expression of the published tokenizer).
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Family FamilyOf(const Json& config, const std::filesystem::path& directory) {
  const std::string name = config.value("tokenizer_class", std::string());
  const auto starts_with = [&](std::string_view prefix) { return name.starts_with(prefix); };
  if (starts_with("Qwen2")) return Family::kQwen2;
  if (starts_with("Roberta") || starts_with("Bart") || starts_with("Longformer")) {
    return Family::kRoberta;
  }
  if (name.empty() || starts_with("GPT2") || starts_with("CodeGen") ||
      starts_with("PreTrainedTokenizer")) {
    return Family::kGpt2;
  }
  throw UnsupportedError((directory / "tokenizer_config.json").string() + ": tokenizer_class " +
                         name + " cannot be built from vocab.json and merges.txt; save the " +
                         "tokenizer once with transformers to get its tokenizer.json");
}

Json ReadMerges(const std::filesystem::path& path) {
  std::istringstream lines(ReadTextFile(path));
  Json merges = Json::array();
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string::npos) {
      throw InputError(path.string() + ":" + std::to_string(number) +
                       ": expected two tokens separated by one space");
    }
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

Json AddedToken(int64_t id, const Json& token, bool special) {
  const auto flag = [&](const char* key, bool otherwise) {
    return token.is_object() ? token.value(key, otherwise) : otherwise;
  };
  return {{"id", id},
          {"content", token.is_object() ? token.at("content") : token},
          {"single_word", flag("single_word", false)},
          {"lstrip", flag("lstrip", false)},
          {"rstrip", flag("rstrip", false)},
          {"normalized", flag("normalized", !special)},
          {"special", flag("special", special)}};
}

std::optional<int64_t> IdOf(const Json& vocab, const std::string& token) {
  const auto found = vocab.find(token);
  if (found == vocab.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<int64_t>();
}

/// Tokens outside the merges, ordered by id: `added_tokens_decoder`, added_tokens.json, and the
/// special tokens that the vocabulary itself holds.
Json ReadAddedTokens(const std::filesystem::path& directory, const Json& config,
                     const Json& special, const Json& vocab) {
  std::map<int64_t, Json> by_id;
  const Json decoder = config.value("added_tokens_decoder", Json::object());
  for (const auto& [id, token] : decoder.items()) {
    by_id.emplace(std::stoll(id), AddedToken(std::stoll(id), token, false));
  }
  const Json added = ReadJsonObject(directory / "added_tokens.json");
  for (const auto& [token, id] : added.items()) {
    by_id.emplace(id.get<int64_t>(), AddedToken(id.get<int64_t>(), token, false));
  }
  for (const auto& [role, token] : special.items()) {
    if (!token.is_string()) continue;
    if (const auto id = IdOf(vocab, token.get<std::string>())) {
      by_id.emplace(*id, AddedToken(*id, token, true));
    }
  }
  Json tokens = Json::array();
  for (auto& [id, token] : by_id) tokens.push_back(std::move(token));
  return tokens;
}

Json ByteLevel(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json PreTokenizer(Family family, bool add_prefix_space) {
  if (family != Family::kQwen2) return ByteLevel(add_prefix_space, true, true);
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kQwen2Pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, ByteLevel(false, false, false)}}};
}

/// A required special token and its id, in the form that the post-processors name tokens.
std::pair<std::string, int64_t> RequiredToken(const Json& special, const Json& vocab,
                                              const char* role, const std::string& otherwise,
                                              const std::filesystem::path& directory) {
  const std::string token = special.value(role, otherwise);
  const auto id = IdOf(vocab, token);
  if (!id) {
    throw InputError((directory / "vocab.json").string() + ": " + role + " \"" + token +
                     "\" is not in the vocabulary");
  }
  return {token, *id};
}

Json PostProcessor(Family family, const Json& config, const Json& special, const Json& vocab,
                   const std::filesystem::path& directory) {
  if (family == Family::kRoberta) {
    return {{"type", "RobertaProcessing"},
            {"sep", RequiredToken(special, vocab, "sep_token", "</s>", directory)},
            {"cls", RequiredToken(special, vocab, "cls_token", "<s>", directory)},
            {"trim_offsets", true},
            {"add_prefix_space", config.value("add_prefix_space", false)}};
  }
  if (family == Family::kGpt2 && config.value("add_bos_token", false)) {
    const auto [token, id] = RequiredToken(special, vocab, "bos_token", "<|endoftext|>", directory);
    const auto begin = [&token = token](int type) {
      return Json{{"SpecialToken", {{"id", token}, {"type_id", type}}}};
    };
    const auto sequence = [](const char* name, int type) {
      return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
    };
    return {
        {"type", "TemplateProcessing"},
        {"single", {begin(0), sequence("A", 0)}},
        {"pair", {begin(0), sequence("A", 0), begin(1), sequence("B", 1)}},
        {"special_tokens",
         {{token, {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}}}}}};
  }
  return ByteLevel(false, false, true);
}

std::string Compose(const std::filesystem::path& directory) {
  const Json config = ReadJsonObject(directory / "tokenizer_config.json");
  const Json vocab = ReadJsonObject(directory / "vocab.json");
  const Family family = FamilyOf(config, directory);
  Json special = ReadSpecialTokens(directory);
  if (family == Family::kGpt2 && special.empty()) special["eos_token"] = "<|endoftext|>";

  Json model = {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", ""},
                {"end_of_word_suffix", ""},
                {"fuse_unk", false},
                {"byte_fallback", false}};
  model["vocab"] = vocab;
  model["merges"] = ReadMerges(directory / "merges.txt");
  const Json nfc = {{"type", "NFC"}};
  Json tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  tokenizer["added_tokens"] = ReadAddedTokens(directory, config, special, vocab);
  tokenizer["normalizer"] = family == Family::kQwen2 ? nfc : Json();
  tokenizer["pre_tokenizer"] = PreTokenizer(family, config.value("add_prefix_space", false));
  tokenizer["post_processor"] = PostProcessor(family, config, special, vocab, directory);
  tokenizer["decoder"] = ByteLevel(true, true, true);
  tokenizer["model"] = std::move(model);
  return DumpJson(tokenizer);
}

}  // namespace

std::string ComposeByteLevelBpe(const std::filesystem::path& directory) {
  const auto malformed = [&](const std::exception& error) {
    return InputError(directory.string() + ": the tokenizer's files have an unexpected content (" +
                      JsonReason(error) + ")");
  };
  try {
    return Compose(directory);
  } catch (const Json::exception& error) {
    throw malformed(error);
  } catch (const std::logic_error& error) {  // an id in added_tokens_decoder that is no number
    throw malformed(error);
  }
}

}  // namespace ptq
