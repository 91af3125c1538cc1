// JSON from text and back, compiled once: the parser is most of what a file that uses it costs.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

/// What an exception of the JSON library says, without its name and number in front.
[[nodiscard]] std::string JsonReason(const std::exception& error);

/// The present exception; one of the JSON library becomes an InputError that names the file.
[[noreturn]] void RethrowAsJsonOf(const std::filesystem::path& file, const std::exception& error);

/// Whether brackets are nested deeper than anything that people write: who goes over it may call
/// himself for each level. For who parses without ParseJson.
[[nodiscard]] bool IsTooDeep(std::string_view text);

/// `Json`: nlohmann::json or nlohmann::ordered_json. A discarded value when the text is no JSON, or
/// too deep.
template <class Json>
[[nodiscard]] Json ParseJson(std::string_view text);

/// What `read` gives. Where the file's JSON has another form than it expects, an InputError names
/// the file.
template <class Read>
auto WithJsonOf(const std::filesystem::path& file, const Read& read) {
  try {
    return read();
  } catch (const std::exception& error) {
    RethrowAsJsonOf(file, error);
  }
}

/// On one line, or with `indent` spaces for each level. Bytes that are no UTF-8 are replaced.
[[nodiscard]] std::string DumpJson(const nlohmann::json& json, int indent = -1);
[[nodiscard]] std::string DumpJson(const nlohmann::ordered_json& json, int indent = -1);

/// The number; null for none, and for what JSON cannot write: infinite, or no number.
[[nodiscard]] nlohmann::ordered_json NumberOrNull(std::optional<double> value);
/// A member of an object; null where there is none, and of what is no object.
[[nodiscard]] nlohmann::ordered_json MemberOrNull(const nlohmann::ordered_json& object,
                                                  const char* key);

/// A member that counts something, such as bytes: 0 to 2^47, so that sums of them fit. Throws
/// InputError for another number, and what the JSON library throws where there is none.
[[nodiscard]] int64_t CountIn(const nlohmann::ordered_json& object, const std::string& key);

/// With two spaces for each level, but an array of nothing but numbers on one line.
[[nodiscard]] std::string DumpForPeople(const nlohmann::ordered_json& json);

}  // namespace ptq
