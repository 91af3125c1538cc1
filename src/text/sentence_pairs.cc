#include "ptq/text/sentence_pairs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "lines.h"
#include "utf8.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

/// Places of the fields of a line.
struct Columns {
  size_t first = 5;
  size_t second = 6;
  size_t score = 4;
};

void Add(SentencePairs& pairs, std::string first, std::string second, double score,
         const std::string& where) {
  if (IsBlank(first) || IsBlank(second)) throw InputError(where + ": a sentence is empty");
  if (!std::isfinite(score)) throw InputError(where + ": the score is not finite");
  pairs.first.push_back(std::move(first));
  pairs.second.push_back(std::move(second));
  pairs.scores.push_back(score);
}

// ---- JSON lines ---------------------------------------------------------------------------------

bool StartsWithAPair(const std::vector<std::string_view>& lines) {
  const auto first = std::find_if_not(lines.begin(), lines.end(), IsBlank);
  if (first == lines.end()) return false;
  const Json entry = Json::parse(*first, nullptr, /*allow_exceptions=*/false);
  return entry.is_object() && entry.contains("sentence1");
}

void AddEntry(SentencePairs& pairs, std::string_view line, const std::string& where) {
  const Json entry = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!entry.is_object()) throw InputError(where + ": expected one JSON object a line");
  for (const char* key : {"sentence1", "sentence2"}) {
    if (entry.contains(key) && entry[key].is_string()) continue;
    throw InputError(where + ": no string \"" + key + "\"");
  }
  if (!entry.contains("score") || !entry["score"].is_number()) {
    throw InputError(where + ": no number \"score\"");
  }
  Add(pairs, entry["sentence1"].get<std::string>(), entry["sentence2"].get<std::string>(),
      entry["score"].get<double>(), where);
}

// ---- Tab-separated fields -----------------------------------------------------------------------

std::vector<std::string_view> Fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return fields;
}

/// The places that a line of names tells; nothing when it holds no names.
std::optional<Columns> NamedColumns(const std::vector<std::string_view>& fields) {
  const auto place = [&](std::string_view name) {
    return size_t(std::ranges::find(fields, name) - fields.begin());
  };
  const Columns columns{place("sentence1"), place("sentence2"), place("score")};
  const bool complete = std::max({columns.first, columns.second, columns.score}) < fields.size();
  return complete ? std::optional(columns) : std::nullopt;
}

void AddFields(SentencePairs& pairs, const std::vector<std::string_view>& fields,
               const Columns& columns, const std::string& where) {
  const size_t needed = 1 + std::max({columns.first, columns.second, columns.score});
  if (fields.size() < needed) {
    throw InputError(where + ": " + std::to_string(fields.size()) +
                     " fields separated by tabs, expected " + std::to_string(needed) +
                     " as in the STS benchmark, or a first line with the names sentence1, "
                     "sentence2 and score");
  }
  const std::string_view text = fields[columns.score];
  double score = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw InputError(where + ": the score '" + std::string(text) + "' is not a number");
  }
  Add(pairs, std::string(fields[columns.first]), std::string(fields[columns.second]), score, where);
}

}  // namespace

std::optional<SentencePairs> ReadSentencePairs(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  const bool json = extension == ".jsonl";
  if (!json && extension != ".tsv" && extension != ".csv") return std::nullopt;
  const std::string name = file.filename().string();
  const std::string bytes = ReadTextFile(file);
  if (const auto offset = FirstInvalidUtf8(bytes)) {
    throw InputError(name + ": invalid UTF-8 at byte " + std::to_string(*offset));
  }
  std::string_view text = bytes;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // byte order mark
  const std::vector<std::string_view> lines = Lines(text);
  if (json && !StartsWithAPair(lines)) return std::nullopt;

  SentencePairs pairs;
  Columns columns;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (IsBlank(lines[i])) continue;
    const std::string where = name + ":" + std::to_string(i + 1);
    if (json) {
      AddEntry(pairs, lines[i], where);
      continue;
    }
    const auto fields = Fields(lines[i]);
    if (i == 0) {
      if (const auto named = NamedColumns(fields)) {
        columns = *named;
        continue;
      }
    }
    AddFields(pairs, fields, columns, where);
  }
  if (pairs.scores.empty()) throw InputError(name + ": no pairs of sentences");
  return pairs;
}

}  // namespace ptq
