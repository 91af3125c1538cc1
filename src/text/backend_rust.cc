// The build with the Rust library: calls its C ABI, frees what it gives, and throws its errors.
#include "backend.h"
#include "ffi/ptq_text_ffi.h"

#include "ptq/base/error.h"

namespace ptq::text_backend {
namespace {

/// Turns an error message of the library, if there is one, into an exception.
void Check(char* error) {
  if (error == nullptr) return;
  const std::unique_ptr<char, decltype(&ptq_text_error_free)> owner(error, &ptq_text_error_free);
  throw InputError(error);
}

std::string TakeText(ptq_text_buffer buffer) {
  struct Release {
    ptq_text_buffer buffer;
    ~Release() { ptq_text_buffer_free(buffer); }
  } release{buffer};
  return {buffer.data, buffer.size};
}

struct OwnedIds {
  ptq_text_ids given{nullptr, 0};
  OwnedIds() = default;
  OwnedIds(const OwnedIds&) = delete;
  OwnedIds& operator=(const OwnedIds&) = delete;
  ~OwnedIds() { ptq_text_ids_free(given); }
  [[nodiscard]] std::vector<int64_t> Taken() const { return {given.data, given.data + given.size}; }
};

class RustTable : public ParquetTable {
 public:
  explicit RustTable(std::string_view path) : table_(nullptr, &ptq_text_parquet_free) {
    ptq_text_parquet* opened = nullptr;
    Check(ptq_text_parquet_open(path.data(), path.size(), &opened));
    table_.reset(opened);
  }

  [[nodiscard]] std::string Describe() const override {
    ptq_text_buffer text{nullptr, 0};
    Check(ptq_text_parquet_describe(table_.get(), &text));
    return TakeText(text);
  }

  void Select(std::string_view names_json) override {
    Check(ptq_text_parquet_select(table_.get(), names_json.data(), names_json.size()));
  }

  [[nodiscard]] std::string Next(size_t limit) override {
    ptq_text_buffer lines{nullptr, 0};
    Check(ptq_text_parquet_next(table_.get(), limit, &lines));
    return TakeText(lines);
  }

 private:
  std::unique_ptr<ptq_text_parquet, decltype(&ptq_text_parquet_free)> table_;
};

class RustPattern : public Pattern {
 public:
  explicit RustPattern(std::string_view form) : pattern_(nullptr, &ptq_text_pattern_free) {
    ptq_text_pattern* created = nullptr;
    Check(ptq_text_pattern_create(form.data(), form.size(), &created));
    pattern_.reset(created);
  }

  [[nodiscard]] bool Matches(std::string_view text) const override {
    int32_t matches = 0;
    Check(ptq_text_pattern_matches(pattern_.get(), text.data(), text.size(), &matches));
    return matches != 0;
  }

 private:
  std::unique_ptr<ptq_text_pattern, decltype(&ptq_text_pattern_free)> pattern_;
};

class RustTokenizer : public Handle {
 public:
  explicit RustTokenizer(std::string_view json) : tokenizer_(nullptr, &ptq_text_tokenizer_free) {
    ptq_text_tokenizer* created = nullptr;
    Check(ptq_text_tokenizer_create(json.data(), json.size(), &created));
    tokenizer_.reset(created);
  }

  [[nodiscard]] std::vector<int64_t> Encode(std::string_view text,
                                            bool add_special_tokens) const override {
    OwnedIds ids;
    Check(ptq_text_tokenizer_encode(tokenizer_.get(), text.data(), text.size(),
                                    add_special_tokens ? 1 : 0, &ids.given));
    return ids.Taken();
  }

  [[nodiscard]] EncodedPair EncodePair(std::string_view first, std::string_view second,
                                       size_t limit) const override {
    OwnedIds ids, types;
    Check(ptq_text_tokenizer_encode_pair(tokenizer_.get(), first.data(), first.size(),
                                         second.data(), second.size(), limit, &ids.given,
                                         &types.given));
    return {ids.Taken(), types.Taken()};
  }

  [[nodiscard]] std::string Decode(std::span<const int64_t> ids,
                                   bool skip_special_tokens) const override {
    ptq_text_buffer buffer{nullptr, 0};
    Check(ptq_text_tokenizer_decode(tokenizer_.get(), ids.data(), ids.size(),
                                    skip_special_tokens ? 1 : 0, &buffer));
    return TakeText(buffer);
  }

  [[nodiscard]] int64_t VocabSize() const override {
    return static_cast<int64_t>(ptq_text_tokenizer_vocab_size(tokenizer_.get()));
  }

  [[nodiscard]] int64_t TokenToId(std::string_view token) const override {
    return ptq_text_tokenizer_token_to_id(tokenizer_.get(), token.data(), token.size());
  }

 private:
  std::unique_ptr<ptq_text_tokenizer, decltype(&ptq_text_tokenizer_free)> tokenizer_;
};

}  // namespace

std::unique_ptr<const Handle> Handle::Create(std::string_view json) {
  return std::make_unique<RustTokenizer>(json);
}

std::unique_ptr<ParquetTable> ParquetTable::Open(std::string_view path) {
  return std::make_unique<RustTable>(path);
}

std::string UnpackZstd(std::string_view packed, uint64_t most) {
  ptq_text_buffer bytes{nullptr, 0};
  Check(ptq_text_unpack_zstd(packed.data(), packed.size(), most, &bytes));
  return TakeText(bytes);
}

std::string LanguageCode(std::string_view name) {
  ptq_text_buffer code{nullptr, 0};
  Check(ptq_text_language_code(name.data(), name.size(), &code));
  return TakeText(code);
}

std::string DetectLanguage(std::string_view text) {
  ptq_text_buffer code{nullptr, 0};
  Check(ptq_text_detect_language(text.data(), text.size(), &code));
  return TakeText(code);
}

std::string Mask(std::string_view text, int64_t& count) {
  ptq_text_buffer masked{nullptr, 0};
  Check(ptq_text_mask(text.data(), text.size(), &masked, &count));
  return TakeText(masked);
}

std::unique_ptr<const Pattern> Pattern::Create(std::string_view form) {
  return std::make_unique<RustPattern>(form);
}

std::string RenderChat(std::string_view chat_template, std::string_view context_json, int64_t now) {
  ptq_text_buffer buffer{nullptr, 0};
  Check(ptq_text_render_chat(chat_template.data(), chat_template.size(), context_json.data(),
                             context_json.size(), now, &buffer));
  return TakeText(buffer);
}

std::string RenderTemplate(std::string_view templates_json, std::string_view name,
                           std::string_view context_json) {
  ptq_text_buffer buffer{nullptr, 0};
  Check(ptq_text_render_template(templates_json.data(), templates_json.size(), name.data(),
                                 name.size(), context_json.data(), context_json.size(), &buffer));
  return TakeText(buffer);
}

TextLibraryVersions Versions() {
  return {ptq_text_tokenizers_version(), ptq_text_minijinja_version()};
}

}  // namespace ptq::text_backend
