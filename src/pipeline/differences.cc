// Compares two JSON objects and words what differs.
#include "differences.h"

#include <algorithm>
#include <iterator>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Characters of a value that are shown, and how many members.
constexpr size_t kShown = 60;
constexpr size_t kShownOfHash = 12;
constexpr size_t kHashLength = 64;
constexpr size_t kListed = 4;

bool IsHash(const Json& value) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return text.size() == kHashLength &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string Shown(const Json* value) {
  if (value == nullptr || value->is_null()) return "none";
  if (IsHash(*value)) return value->get<std::string>().substr(0, kShownOfHash) + "...";
  // As plain ASCII, so that it can be cut anywhere.
  const std::string text = value->dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kShown ? text : text.substr(0, kShown) + "...";
}

const Json* Member(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

void Compare(const Json* before, const Json* now, const std::string& name,
             std::vector<std::string>& differences) {
  if (before != nullptr && now != nullptr) {
    if (*before == *now) return;
    if (before->is_object() && now->is_object()) {
      auto inner = Differences(*before, *now, name);
      std::ranges::move(inner, std::back_inserter(differences));
      return;
    }
  }
  differences.push_back(name + ": " + Shown(before) + " -> " + Shown(now));
}

}  // namespace

std::vector<std::string> Differences(const Json& before, const Json& now,
                                     const std::string& prefix) {
  const std::string start = prefix.empty() ? "" : prefix + ".";
  std::vector<std::string> differences;
  for (const auto& [key, value] : now.items()) {
    Compare(Member(before, key), &value, start + key, differences);
  }
  for (const auto& [key, value] : before.items()) {
    if (!now.contains(key)) Compare(&value, nullptr, start + key, differences);
  }
  return differences;
}

std::string Listed(const std::vector<std::string>& differences) {
  std::string text;
  for (size_t i = 0; i < std::min(kListed, differences.size()); ++i) {
    text += (text.empty() ? "" : ", ") + differences[i];
  }
  if (differences.size() > kListed) {
    text += ", and " + std::to_string(differences.size() - kListed) + " more";
  }
  return text;
}

void CheckIdentity(const std::filesystem::path& file, const Json& identity,
                   const std::string& interrupted) {
  const Json before = ParseJson<Json>(ReadTextFile(file));
  if (before == identity) return;
  const std::vector<std::string> changed =
      before.is_object() ? Differences(before, identity) : std::vector<std::string>{"unreadable"};
  throw UsageError("cannot resume " + interrupted + "; changed since: " + Listed(changed) +
                   "; undo that, or start again with --restart");
}

}  // namespace ptq
