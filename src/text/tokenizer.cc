// Finds the files of a tokenizer, loads them, and cuts long texts without losing special tokens.
#include "ptq/text/tokenizer.h"

#include <algorithm>

#include "backend.h"
#include "byte_level_bpe.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/links.h"

namespace ptq {
namespace {

bool HasTokenizer(const std::filesystem::path& directory) {
  const auto has = [&](const char* name) { return std::filesystem::exists(directory / name); };
  return has("tokenizer.json") || (has("vocab.json") && has("merges.txt"));
}

}  // namespace

struct Tokenizer::Impl {
  std::unique_ptr<const text_backend::Handle> handle;
};

Tokenizer Tokenizer::FromJson(std::string_view json, const std::string& name) {
  try {
    auto impl = std::make_shared<Impl>();
    impl->handle = text_backend::Handle::Create(json);
    return Tokenizer(std::move(impl));
  } catch (const InputError& error) {
    throw InputError(name + ": not a readable tokenizer (" + error.what() + ")");
  }
}

Tokenizer Tokenizer::FromFile(const std::filesystem::path& path) {
  return FromJson(ReadTextFile(path), path.string());
}

Tokenizer Tokenizer::FromDirectory(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / "tokenizer.json")) {
    return FromFile(directory / "tokenizer.json");
  }
  if (!HasTokenizer(directory)) {
    throw InputError(directory.string() +
                     ": no tokenizer.json (nor vocab.json with merges.txt); copy it from the "
                     "model's repository, or give token ids as .npz or .npy");
  }
  return FromJson(ComposeByteLevelBpe(directory), (directory / "vocab.json").string());
}

std::vector<int64_t> Tokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  return impl_->handle->Encode(text, add_special_tokens);
}

EncodedPair Tokenizer::EncodePair(std::string_view first, std::string_view second,
                                  size_t limit) const {
  return impl_->handle->EncodePair(first, second, limit);
}

std::string Tokenizer::Decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  return impl_->handle->Decode(ids, skip_special_tokens);
}

int64_t Tokenizer::VocabSize() const { return impl_->handle->VocabSize(); }

std::optional<int64_t> Tokenizer::TokenToId(std::string_view token) const {
  const int64_t id = impl_->handle->TokenToId(token);
  return id < 0 ? std::nullopt : std::optional<int64_t>(id);
}

EncodedPair EncodePairAtMost(const Tokenizer& tokenizer, std::string_view first,
                             std::string_view second, size_t limit, int64_t& cut) {
  constexpr size_t kUnlimited = size_t{1} << 30;
  EncodedPair pair = tokenizer.EncodePair(first, second, limit);
  cut = 0;
  if (pair.ids.size() >= limit) {
    cut = std::ssize(tokenizer.EncodePair(first, second, kUnlimited).ids) - std::ssize(pair.ids);
  }
  return pair;
}

std::vector<int64_t> EncodeAtMost(const Tokenizer& tokenizer, std::string_view text, size_t limit,
                                  int64_t* cut) {
  std::vector<int64_t> ids = tokenizer.Encode(text, true);
  if (cut != nullptr) *cut = std::max<int64_t>(0, std::ssize(ids) - int64_t(limit));
  if (ids.size() <= limit) return ids;
  const std::vector<int64_t> plain = tokenizer.Encode(text, false);
  const size_t added = ids.size() - std::min(ids.size(), plain.size());
  const auto start = std::search(ids.begin(), ids.end(), plain.begin(), plain.end());
  if (added == 0 || added >= limit || start == ids.end()) {
    ids.resize(limit);
    return ids;
  }
  const auto tail = start + static_cast<std::ptrdiff_t>(plain.size());
  const auto excess = static_cast<std::ptrdiff_t>(ids.size() - limit);
  ids.erase(tail - excess, tail);
  return ids;
}

std::optional<std::filesystem::path> FindTokenizerDirectory(const std::filesystem::path& source) {
  std::filesystem::path directory = std::filesystem::absolute(source);
  const bool is_directory = std::filesystem::is_directory(directory);
  if (!is_directory) directory = directory.parent_path();
  if (!directory.has_filename()) directory = directory.parent_path();  // "model/onnx/"
  std::vector<std::filesystem::path> places = {directory, directory / "onnx",
                                               directory.parent_path()};
  if (!is_directory) {  // a link to a model elsewhere
    for (const auto& place : DirectoriesOf(source)) {
      places.push_back(std::filesystem::absolute(place));
      places.push_back(std::filesystem::absolute(place).parent_path());
    }
  }
  const auto found = std::ranges::find_if(places, HasTokenizer);
  return found == places.end() ? std::nullopt : std::optional(*found);
}

TextLibraryVersions GetTextLibraryVersions() { return text_backend::Versions(); }

}  // namespace ptq
