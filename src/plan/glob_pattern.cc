// Reads a pattern into stars and sets of bytes, and matches with one place to go back to.
#include "glob_pattern.h"

#include <array>
#include <cctype>
#include <optional>
#include <string>
#include <utility>

namespace ptq {
namespace {

using Bytes = std::bitset<256>;

size_t ByteOf(char c) { return static_cast<unsigned char>(c); }

Bytes One(char c) {
  Bytes bytes;
  bytes.set(ByteOf(c));
  return bytes;
}

/// The bytes of a class such as alpha, as in [[:alpha:]]; nothing for a name that is none.
std::optional<Bytes> ClassNamed(std::string_view name) {
  using Test = int (*)(int);
  static constexpr std::array<std::pair<std::string_view, Test>, 6> kClasses = {
      {{"alpha", std::isalpha},
       {"digit", std::isdigit},
       {"alnum", std::isalnum},
       {"upper", std::isupper},
       {"lower", std::islower},
       {"punct", std::ispunct}}};
  for (const auto& [known, test] : kClasses) {
    if (known != name) continue;
    Bytes bytes;
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = test(int(i)) != 0;
    return bytes;
  }
  return std::nullopt;
}

/// What is between brackets from `at`, behind the first one; `at` goes behind the last. Nothing
/// when they are not closed.
std::optional<Bytes> ReadSet(std::string_view pattern, size_t& at) {
  Bytes bytes;
  size_t i = at;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  const auto take = [&] {  // a character, perhaps behind a backslash
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    return pattern[i++];
  };
  for (bool first = true; i < pattern.size(); first = false) {
    if (pattern[i] == ']' && !first) {
      at = i + 1;
      return negated ? ~bytes : bytes;
    }
    if (pattern.substr(i).starts_with("[:")) {
      const size_t end = pattern.find(":]", i + 2);
      const auto named = end == std::string_view::npos
                             ? std::nullopt
                             : ClassNamed(pattern.substr(i + 2, end - i - 2));
      if (named.has_value()) {
        bytes |= *named;
        i = end + 2;
        continue;
      }
    }
    const char low = take();
    char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      ++i;
      high = take();
    }
    for (size_t byte = ByteOf(low); byte <= ByteOf(high); ++byte) bytes.set(byte);
  }
  return std::nullopt;
}

}  // namespace

Glob::Glob(std::string_view pattern) {
  for (size_t i = 0; i < pattern.size();) {
    const char c = pattern[i++];
    if (c == '*') {
      if (parts_.empty() || !parts_.back().star) parts_.push_back({true, {}});
    } else if (c == '?') {
      parts_.push_back({false, ~Bytes()});
    } else if (c == '\\' && i < pattern.size()) {
      parts_.push_back({false, One(pattern[i++])});
    } else {
      const auto set = c == '[' ? ReadSet(pattern, i) : std::nullopt;
      parts_.push_back({false, set.value_or(One(c))});
    }
  }
}

bool Glob::Matches(std::string_view name) const {
  size_t part = 0, at = 0;
  // Only the last star need take more: what an earlier one took led there already.
  std::optional<std::pair<size_t, size_t>> back;  // the part behind it, and where its text begins
  while (at < name.size()) {
    if (part < parts_.size() && parts_[part].star) {
      back = {++part, at};
    } else if (part < parts_.size() && parts_[part].bytes[ByteOf(name[at])]) {
      ++part;
      ++at;
    } else if (back.has_value()) {
      part = back->first;
      at = ++back->second;
    } else {
      return false;
    }
  }
  while (part < parts_.size() && parts_[part].star) ++part;
  return part == parts_.size();
}

}  // namespace ptq
