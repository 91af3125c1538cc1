// Tables with a column of texts.
#include "text_table.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <optional>

#include "lines.h"

#include "ptq/base/error.h"
#include "ptq/base/letters.h"

namespace ptq {
namespace {

/// A name as tables have in their header: short, and no sentence.
bool IsName(const std::string& field) {
  constexpr size_t kLongestName = 32;
  return !field.empty() && field.size() <= kLongestName && std::ranges::all_of(field, [](char c) {
    return std::isalnum(uint8_t(c)) || c == '_' || c == '-' || c == ' ' || c == '.';
  });
}

bool HaveEqualFields(const std::vector<CsvRecord>& records) {
  return std::ranges::all_of(records, [&](const CsvRecord& record) {
    return record.fields.size() == records.front().fields.size();
  });
}

}  // namespace

char GuessSeparator(std::string_view text) {
  constexpr std::array<char, 4> kSeparators = {',', '\t', ';', '|'};
  std::array<int64_t, 4> counts{};
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '\n') break;
    const auto found = std::ranges::find(kSeparators, c);
    if (found != kSeparators.end()) ++counts[size_t(found - kSeparators.begin())];
  }
  return kSeparators[size_t(std::ranges::max_element(counts) - counts.begin())];
}

std::vector<size_t> TextColumns(const std::vector<std::string>& header) {
  constexpr std::array<std::string_view, 11> kNames = {
      "text",    "prompt", "content", "sentence", "document", "passage",
      "article", "body",   "review",  "question", "query"};
  const auto place = [&](std::string_view name) -> std::optional<size_t> {
    const auto found = std::ranges::find_if(header, [&](const std::string& field) {
      const size_t begin = std::min(field.find_first_not_of(kBlank), field.size());
      const size_t end = field.find_last_not_of(kBlank) + 1;
      return Lower(std::string_view(field).substr(begin, end - begin)) == name;
    });
    if (found == header.end()) return std::nullopt;
    return size_t(found - header.begin());
  };
  for (const std::string_view name : kNames) {
    if (const auto column = place(name)) return {*column};
  }
  const auto first = place("sentence1"), second = place("sentence2");
  if (first && second) return {*first, *second};
  return {};
}

std::vector<CsvRecord> ReadTable(std::string_view text, char separator, const std::string& name) {
  if (separator != '\t') return ReadCsv(text, separator, name);
  try {
    std::vector<CsvRecord> records = ReadCsv(text, separator, name);
    if (HaveEqualFields(records)) return records;
  } catch (const InputError&) {
    // A quotation mark that begins a field, and holds none.
  }
  return ReadTabs(text);
}

bool LooksLikeTable(std::string_view text) {
  constexpr size_t kRecords = 20;
  constexpr size_t kLooked = size_t{1} << 16;
  const bool whole = text.size() <= kLooked;
  text = text.substr(0, kLooked);
  const char separator = GuessSeparator(text);
  std::vector<CsvRecord> records;
  try {
    records = ReadTable(text, separator, "");
  } catch (const InputError&) {
    return false;
  }
  if (!whole && records.size() > 1) records.pop_back();  // it may be cut
  if (records.size() < 2) return false;
  const std::vector<std::string>& header = records.front().fields;
  if (header.size() < 2 || TextColumns(header).empty()) return false;
  records.resize(std::min(records.size(), kRecords));
  return std::ranges::all_of(header, IsName) && HaveEqualFields(records);
}

}  // namespace ptq
