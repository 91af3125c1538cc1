// Edits the YAML at the front of a model card line by line, so that the rest survives as it is.
#include "model_card.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>
#include <vector>

#include "ptq/emit/metadata.h"
#include "ptq/emit/model_card.h"

namespace ptq {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kFence = "---";

/// Lines with their ends.
std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const size_t end = newline == std::string::npos ? text.size() : newline + 1;
    lines.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return lines;
}

std::string_view WithoutEnd(std::string_view line) {
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) {
    line.remove_suffix(1);
  }
  return line;
}

/// The key of a line of a YAML mapping at its top level; empty for other lines.
std::string_view KeyOf(std::string_view line) {
  line = WithoutEnd(line);
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return {};
  const bool ends = colon + 1 == line.size() || line[colon + 1] == ' ' || line[colon + 1] == '\t';
  if (!ends || line.front() == '-' || line.front() == '#' || line.front() == ' ' ||
      line.front() == '\t') {
    return {};
  }
  std::string_view key = line.substr(0, colon);
  const bool quoted = key.size() > 2 && (key.front() == '"' || key.front() == '\'');
  return quoted ? key.substr(1, key.size() - 2) : WithoutEnd(key);
}

/// Lines that go on with a value or say nothing.
bool Continues(std::string_view line) {
  const std::string_view text = WithoutEnd(line);
  return text.empty() || text.front() == ' ' || text.front() == '\t' || text.front() == '-' ||
         text.front() == '#' || text.front() == ']' || text.front() == '}';
}

/// How many lines the front matter has, both fences included; 0 when the text has none.
size_t FrontMatterLines(const std::vector<std::string>& lines) {
  if (lines.empty() || WithoutEnd(lines.front()) != kFence) return 0;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (WithoutEnd(lines[i]) == kFence) return i + 1;
    if (KeyOf(lines[i]).empty() && !Continues(lines[i])) return 0;  // two rules with text between
  }
  return 0;
}

/// The lines [first, last) of a key and its value.
std::optional<std::pair<size_t, size_t>> FindKey(const std::vector<std::string>& lines, size_t end,
                                                 std::string_view key) {
  for (size_t i = 1; i + 1 < end; ++i) {
    if (KeyOf(lines[i]) != key) continue;
    size_t last = i + 1;
    while (last + 1 < end && Continues(lines[last]) && !WithoutEnd(lines[last]).empty()) ++last;
    return std::pair(i, last);
  }
  return std::nullopt;
}

/// `key: value` in place of what the key has, or as the last line.
void SetKey(std::vector<std::string>& lines, size_t& end, std::string_view key,
            const std::string& line) {
  const auto found = FindKey(lines, end, key);
  if (found.has_value()) {
    lines.erase(lines.begin() + std::ptrdiff_t(found->first),
                lines.begin() + std::ptrdiff_t(found->second));
    end -= found->second - found->first;
  }
  const size_t place = found.has_value() ? found->first : end - 1;
  lines.insert(lines.begin() + std::ptrdiff_t(place), line);
  ++end;
}

bool HasValue(const std::vector<std::string>& lines, size_t end, std::string_view key) {
  const auto found = FindKey(lines, end, key);
  if (!found.has_value()) return false;
  const std::string_view line = WithoutEnd(lines[found->first]);
  return found->second - found->first > 1 ||
         line.find_first_not_of(" \t", line.find(':') + 1) != std::string_view::npos;
}

}  // namespace

std::string QuantizedCard(const std::string& card, const std::string& base_model) {
  if (card.find('\0') != std::string::npos) return card;
  const bool marked = card.starts_with(kByteOrderMark);
  std::vector<std::string> lines = Lines(marked ? card.substr(kByteOrderMark.size()) : card);
  const bool windows = !lines.empty() && lines.front().ends_with("\r\n");
  const std::string newline = windows ? "\r\n" : "\n";
  size_t front = FrontMatterLines(lines);
  if (front == 0 && !base_model.empty()) {
    const std::string fence = std::string(kFence) + newline;
    lines.insert(lines.begin(), {fence, fence, newline});
    front = 2;
  }
  if (front > 0) {
    if (!lines[front - 1].ends_with('\n')) lines[front - 1] += newline;
    if (!base_model.empty() && !HasValue(lines, front, "base_model")) {
      SetKey(lines, front, "base_model", "base_model: " + base_model + newline);
    }
    SetKey(lines, front, "base_model_relation", "base_model_relation: quantized" + newline);
  }
  std::string text = marked ? std::string(kByteOrderMark) : "";
  for (size_t i = 0; i < front; ++i) text += lines[i];
  if (card.find(kMetadataFileName) == std::string::npos) {
    if (front > 0) text += newline;
    text += "> These are quantized weights: [" + std::string(kMetadataFileName) + "](" +
            kMetadataFileName + ") says what was done to each layer. What follows describes the " +
            "original model." + newline;
    const bool gap = front < lines.size() && WithoutEnd(lines[front]).empty();
    if (!gap) text += newline;
  }
  for (size_t i = front; i < lines.size(); ++i) text += lines[i];
  return text;
}

std::string FrontMatterWith(const std::string& card,
                            const std::vector<std::pair<std::string, std::string>>& defaults) {
  std::vector<std::string> lines = Lines(card);
  size_t front = FrontMatterLines(lines);
  lines.resize(front);
  if (front == 0) {
    lines = {std::string(kFence) + "\n", std::string(kFence) + "\n"};
    front = 2;
  }
  if (!lines.back().ends_with('\n')) lines.back() += '\n';
  for (const auto& [key, entry] : defaults) {
    if (!HasValue(lines, front, key)) SetKey(lines, front, key, entry + "\n");
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

std::string BodyOfCard(const std::string& card) {
  const std::vector<std::string> lines = Lines(card);
  std::string text;
  for (size_t i = FrontMatterLines(lines); i < lines.size(); ++i) text += lines[i];
  return text;
}

}  // namespace ptq
