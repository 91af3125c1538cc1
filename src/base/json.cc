// The one place that instantiates the JSON parser and printer.
#include "ptq/base/json.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Ordered = nlohmann::ordered_json;

void AddLine(std::string& text, size_t level) { text += '\n' + std::string(2 * level, ' '); }

void Append(std::string& text, const Ordered& json, size_t level) {
  const bool plain = !json.is_structured() || json.empty();
  const bool numbers = json.is_array() && std::ranges::all_of(json, [](const Ordered& item) {
                         return item.is_number() || item.is_null();
                       });
  if (plain || numbers) {
    std::string line = DumpJson(json);
    if (numbers) {
      for (size_t at = 0; (at = line.find(',', at)) != std::string::npos; at += 2) {
        line.insert(at + 1, 1, ' ');
      }
    }
    text += line;
    return;
  }
  text += json.is_array() ? '[' : '{';
  bool first = true;
  for (const auto& [key, value] : json.items()) {
    if (!first) text += ',';
    first = false;
    AddLine(text, level + 1);
    if (json.is_object()) text += DumpJson(Ordered(key)) + ": ";
    Append(text, value, level + 1);
  }
  AddLine(text, level);
  text += json.is_array() ? ']' : '}';
}

}  // namespace

bool IsTooDeep(std::string_view text) {
  constexpr int kDeepest = 256;
  int depth = 0;  // of brackets outside of strings
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

void RefuseJsonAccess() {
  throw InputError(
      "an input of JSON lacks a member that is needed; it is damaged, or of something "
      "else");
}

std::string JsonReason(const std::exception& error) {
  const std::string text = error.what();  // "[json.exception.type_error.302] type must be ..."
  const size_t end = text.find("] ");
  return text.starts_with('[') && end != std::string::npos ? text.substr(end + 2) : text;
}

void RethrowAsJsonOf(const std::filesystem::path& file, const std::exception& error) {
  if (dynamic_cast<const nlohmann::json::exception*>(&error) == nullptr) throw;
  throw InputError("'" + file.string() + "' has another form than is expected here (" +
                   JsonReason(error) + "); it is damaged, or of something else");
}

template <class Json>
Json ParseJson(std::string_view text) {
  if (IsTooDeep(text)) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}
template nlohmann::json ParseJson(std::string_view text);
template nlohmann::ordered_json ParseJson(std::string_view text);

std::string DumpJson(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}
std::string DumpJson(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

int64_t CountIn(const nlohmann::ordered_json& object, const std::string& key) {
  constexpr int64_t kMost = int64_t{1} << 47;
  const auto& number = object.at(key);
  if (number.is_number_float() && !(std::abs(number.get<double>()) <= double(kMost))) {
    throw InputError("'" + key + "' is " + number.dump() + ", which is no count");
  }
  const auto count = number.get<int64_t>();
  if (count >= 0 && count <= kMost) return count;
  throw InputError("'" + key + "' is " + std::to_string(count) + ", which is no count");
}

nlohmann::ordered_json NumberOrNull(std::optional<double> value) {
  return value.has_value() && std::isfinite(*value) ? Ordered(*value) : Ordered(nullptr);
}

nlohmann::ordered_json MemberOrNull(const nlohmann::ordered_json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? Ordered(nullptr) : *found;
}

std::string DumpForPeople(const nlohmann::ordered_json& json) {
  std::string text;
  Append(text, json, 0);
  return text;
}

}  // namespace ptq
