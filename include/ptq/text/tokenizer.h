// Turns text into the token ids a model was trained with, from the files beside the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

/// Two texts as one row of token ids.
struct EncodedPair {
  std::vector<int64_t> ids;    ///< [T], special tokens included
  std::vector<int64_t> types;  ///< [T]: what token_type_ids are, mostly 0 and 1
};

/// A Hugging Face tokenizer (every model type that a tokenizer.json can hold). Immutable; copies
/// share it and may be used from several threads. Truncation and padding set in the file are
/// ignored: lengths are decided by the calibration options alone.
///
/// In a build without PTQ_TEXT every factory throws UsageError.
class Tokenizer {
 public:
  /// Reads tokenizer.json, or builds a byte-level BPE from vocab.json + merges.txt (GPT-2, Qwen2
  /// and RoBERTa families, chosen by `tokenizer_class` in tokenizer_config.json).
  /// Throws InputError when the directory has neither, or a file is malformed.
  [[nodiscard]] static Tokenizer FromDirectory(const std::filesystem::path& directory);
  /// Reads one tokenizer.json. Throws InputError.
  [[nodiscard]] static Tokenizer FromFile(const std::filesystem::path& path);
  /// The contents of a tokenizer.json; `name` is what error messages call it. Throws InputError.
  [[nodiscard]] static Tokenizer FromJson(std::string_view json, const std::string& name);

  /// Token ids of UTF-8 text; special tokens as the tokenizer's post-processor adds them.
  /// Throws InputError when the text is not UTF-8.
  [[nodiscard]] std::vector<int64_t> Encode(std::string_view text, bool add_special_tokens) const;
  /// Two texts as the post-processor joins them, `limit` tokens at most: what is too much is cut
  /// from the end of the longer text. Throws InputError when a text is not UTF-8.
  [[nodiscard]] EncodedPair EncodePair(std::string_view first, std::string_view second,
                                       size_t limit) const;
  /// Text of token ids. Throws InputError for an id that cannot be one (negative or ≥ 2³²).
  [[nodiscard]] std::string Decode(std::span<const int64_t> ids, bool skip_special_tokens) const;
  /// Number of tokens, added ones included.
  [[nodiscard]] int64_t VocabSize() const;
  /// The id of one token, if the vocabulary has it.
  [[nodiscard]] std::optional<int64_t> TokenToId(std::string_view token) const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// The ids of `text` with special tokens, `limit` at most: what is too much is cut from the end of
/// the text, and special tokens behind it stay. Throws InputError when the text is not UTF-8.
/// `cut` may take the number of tokens that were cut.
[[nodiscard]] std::vector<int64_t> EncodeAtMost(const Tokenizer& tokenizer, std::string_view text,
                                                size_t limit, int64_t* cut = nullptr);
/// Tokenizer::EncodePair with the number of tokens that were cut.
[[nodiscard]] EncodedPair EncodePairAtMost(const Tokenizer& tokenizer, std::string_view first,
                                           std::string_view second, size_t limit, int64_t& cut);

/// The directory that holds the tokenizer of the model at `source` (a model file or a directory):
/// the model's own, or its parent when the model lies in a folder of its own such as "onnx/".
/// Empty when neither has one.
[[nodiscard]] std::optional<std::filesystem::path> FindTokenizerDirectory(
    const std::filesystem::path& source);

/// Versions of the libraries behind tokenizers and chat templates; empty strings in a build
/// without PTQ_TEXT.
struct TextLibraryVersions {
  std::string tokenizers;
  std::string minijinja;
};
[[nodiscard]] TextLibraryVersions GetTextLibraryVersions();

}  // namespace ptq
