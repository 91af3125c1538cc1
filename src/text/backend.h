// What the folder needs from the Rust library; the build picks the one of two implementations.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ptq/text/tokenizer.h"

namespace ptq::text_backend {

/// A tokenizer held by the library. Errors are InputErrors with the library's own words only; the
/// caller adds the file. In a build without the library, Create throws UsageError.
class Handle {
 public:
  [[nodiscard]] static std::unique_ptr<const Handle> Create(std::string_view json);
  virtual ~Handle() = default;
  [[nodiscard]] virtual std::vector<int64_t> Encode(std::string_view text,
                                                    bool add_special_tokens) const = 0;
  [[nodiscard]] virtual std::string Decode(std::span<const int64_t> ids,
                                           bool skip_special_tokens) const = 0;
  [[nodiscard]] virtual int64_t VocabSize() const = 0;
  [[nodiscard]] virtual EncodedPair EncodePair(std::string_view first, std::string_view second,
                                               size_t limit) const = 0;
  /// -1 when the vocabulary does not have the token.
  [[nodiscard]] virtual int64_t TokenToId(std::string_view token) const = 0;
};

/// Rows of a Parquet file as lines of JSON; ptq_text_ffi.h tells the functions' contracts. Errors
/// are InputErrors in the library's own words.
class ParquetTable {
 public:
  [[nodiscard]] static std::unique_ptr<ParquetTable> Open(std::string_view path);
  virtual ~ParquetTable() = default;
  [[nodiscard]] virtual std::string Describe() const = 0;
  virtual void Select(std::string_view names_json) = 0;
  [[nodiscard]] virtual std::string Next(size_t limit) = 0;
};

/// Bytes of Zstandard frames; more than `most` are an InputError.
[[nodiscard]] std::string UnpackZstd(std::string_view packed, uint64_t most);

[[nodiscard]] std::string LanguageCode(std::string_view name);
[[nodiscard]] std::string DetectLanguage(std::string_view text);
[[nodiscard]] std::string Mask(std::string_view text, int64_t& count);

class Pattern {
 public:
  [[nodiscard]] static std::unique_ptr<const Pattern> Create(std::string_view form);
  virtual ~Pattern() = default;
  [[nodiscard]] virtual bool Matches(std::string_view text) const = 0;
};

[[nodiscard]] std::string RenderChat(std::string_view chat_template, std::string_view context_json,
                                     int64_t now);
[[nodiscard]] std::string RenderTemplate(std::string_view templates_json, std::string_view name,
                                         std::string_view context_json);
[[nodiscard]] TextLibraryVersions Versions();

}  // namespace ptq::text_backend
