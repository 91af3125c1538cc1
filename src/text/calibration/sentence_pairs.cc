// Finds two sentences and a score in JSON lines, in named columns, or by their places.
#include "ptq/text/sentence_pairs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <span>
#include <string_view>

#include "csv.h"
#include "decode_text.h"
#include "lines.h"
#include "text_table.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

/// Places of the fields of a line.
struct Columns {
  size_t first;
  size_t second;
  size_t score;
};
constexpr Columns kStsColumns{5, 6, 4};
constexpr Columns kThreeColumns{0, 1, 2};

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  return lower;
}

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
  const Json entry = ParseJson<Json>(*first);
  return entry.is_object() && entry.contains("sentence1");
}

void AddEntry(SentencePairs& pairs, std::string_view line, const std::string& where) {
  const Json entry = ParseJson<Json>(line);
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

// ---- Separated fields ---------------------------------------------------------------------------

/// The places that a line of names tells; nothing when it holds no names.
std::optional<Columns> NamedColumns(const std::vector<std::string>& fields) {
  const auto place = [&](std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
      const auto found = std::ranges::find_if(
          fields, [&](const std::string& field) { return LowerCase(Trimmed(field)) == name; });
      if (found != fields.end()) return size_t(found - fields.begin());
    }
    return fields.size();
  };
  const Columns columns{place({"sentence1"}), place({"sentence2"}),
                        place({"score", "similarity_score", "label"})};
  const bool complete = std::max({columns.first, columns.second, columns.score}) < fields.size();
  return complete ? std::optional(columns) : std::nullopt;
}

/// Tabs where the first line has some, else commas, or semicolons where it has no comma.
char SeparatorOf(std::string_view text) {
  const std::string_view first = text.substr(0, text.find('\n'));
  for (const char separator : {'\t', ',', ';'}) {
    if (first.find(separator) != std::string_view::npos) return separator;
  }
  return ',';
}

const char* NameOf(char separator) {
  if (separator == '\t') return "tabs";
  return separator == ';' ? "semicolons" : "commas";
}

void AddFields(SentencePairs& pairs, const std::vector<std::string>& fields, const Columns& columns,
               char separator, const std::string& where) {
  const size_t needed = 1 + std::max({columns.first, columns.second, columns.score});
  if (fields.size() < needed) {
    throw InputError(where + ": " + std::to_string(fields.size()) + " fields separated by " +
                     NameOf(separator) + ", expected " + std::to_string(needed) +
                     (needed > kStsColumns.second ? " as in the STS benchmark" : "") +
                     ", or a first line with the names sentence1, sentence2 and score");
  }
  const std::string_view text = Trimmed(fields[columns.score]);
  double score = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    throw InputError(where + ": the score '" + std::string(text) + "' is not a number");
  }
  Add(pairs, fields[columns.first], fields[columns.second], score, where);
}

/// Nothing where the first line names a column of single texts.
std::optional<SentencePairs> ReadFields(std::string_view text, bool tabs, const std::string& name) {
  const char separator = tabs ? '\t' : SeparatorOf(text);
  const auto records = separator == '\t' ? ReadTabs(text) : ReadCsv(text, separator, name);
  SentencePairs pairs;
  if (records.empty()) return pairs;
  const auto named = NamedColumns(records.front().fields);
  if (!named.has_value() && TextColumns(records.front().fields).size() == 1) return std::nullopt;
  const bool three = separator != '\t' && records.front().fields.size() == 3;
  const Columns columns = named.value_or(three ? kThreeColumns : kStsColumns);
  for (const CsvRecord& record : std::span(records).subspan(named.has_value() ? 1 : 0)) {
    AddFields(pairs, record.fields, columns, separator, name + ":" + std::to_string(record.line));
  }
  return pairs;
}

SentencePairs ReadJsonLines(const std::vector<std::string_view>& lines, const std::string& name) {
  SentencePairs pairs;
  for (size_t i = 0; i < lines.size(); ++i) {
    CheckInterrupt();
    if (!IsBlank(lines[i])) AddEntry(pairs, lines[i], name + ":" + std::to_string(i + 1));
  }
  return pairs;
}

}  // namespace

std::optional<SentencePairs> ReadSentencePairs(const std::filesystem::path& file) {
  const std::string extension = WithoutPacking(file).extension().string();
  const bool json = extension == ".jsonl";
  if (!json && extension != ".tsv" && extension != ".csv") return std::nullopt;
  const std::string name = file.filename().string();
  const std::string text = DecodeText(ReadTextFile(file), file);
  const std::vector<std::string_view> lines = Lines(text);
  if (json && !StartsWithAPair(lines)) return std::nullopt;
  std::optional<SentencePairs> pairs =
      json ? ReadJsonLines(lines, name) : ReadFields(text, extension == ".tsv", name);
  if (pairs.has_value() && pairs->scores.empty())
    throw InputError(name + ": no pairs of sentences");
  return pairs;
}

}  // namespace ptq
