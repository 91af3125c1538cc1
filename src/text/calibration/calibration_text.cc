// Tells plain text, JSON and tables apart, and cuts them into texts.
#include "calibration_text.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "lines.h"
#include "text_table.h"

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/base/letters.h"

namespace ptq {
namespace {

// ---- Plain text -------------------------------------------------------------------------------

bool HasBlankLineBetweenTexts(std::span<const std::string_view> lines) {
  const auto first = std::find_if_not(lines.begin(), lines.end(), IsBlank);
  const auto blank = std::find_if(first, lines.end(), IsBlank);
  return std::find_if_not(blank, lines.end(), IsBlank) != lines.end();
}

void AddParagraphs(std::span<const std::string_view> lines, EntrySink& sink) {
  std::string paragraph;
  const auto finish = [&] {
    if (!paragraph.empty()) sink.Text(std::exchange(paragraph, {}));
  };
  for (const std::string_view line : lines) {
    if (IsBlank(line)) {
      finish();
      continue;
    }
    if (!paragraph.empty()) paragraph += '\n';
    paragraph += line;
  }
  finish();
}

TextSplit ParsePlain(std::string_view bytes, TextSplit split, EntrySink& sink) {
  const std::vector<std::string_view> lines = Lines(bytes);
  if (split == TextSplit::kAuto) {
    split = HasBlankLineBetweenTexts(lines) ? TextSplit::kBlankLine : TextSplit::kLine;
  }
  if (split == TextSplit::kDocument) {
    sink.Text(std::string(bytes));
  } else if (split == TextSplit::kBlankLine) {
    AddParagraphs(lines, sink);
  } else {
    for (const std::string_view line : lines) sink.Text(std::string(line));
  }
  return split;
}

// ---- JSON -------------------------------------------------------------------------------------

/// The library's message without its own position and error number.
std::string Reason(const OrderedJson::exception& error) {
  std::string_view text = error.what();
  if (const size_t colon = text.find(": "); colon != std::string_view::npos) {
    text.remove_prefix(colon + 2);
  }
  return std::string(text);
}

void CheckDepth(std::string_view json, const std::string& where) {
  if (IsTooDeep(json)) throw InputError(where + ": JSON that is nested without end");
}

void ParseJsonLines(std::string_view bytes, const TextRequest& request, EntrySink& sink) {
  int64_t number = 0;
  for (const std::string_view line : Lines(bytes)) {
    CheckInterrupt();
    ++number;
    if (IsBlank(line)) continue;
    const Where where = request.name + ":" + std::to_string(number);
    OrderedJson entry;
    CheckDepth(line, where);
    try {
      entry = OrderedJson::parse(line);
    } catch (const OrderedJson::exception& error) {
      throw InputError(where + ": not valid JSON (" + Reason(error) +
                       "); expected one object a line with " + std::string(kMainMembers));
    }
    ReadEntry(entry, request.field, where, sink);
  }
}

/// Every value of a text that holds one behind the other, over several lines each. Throws
/// OrderedJson::parse_error.
OrderedJson ParseValues(std::string_view bytes) {
  std::istringstream stream{std::string(bytes)};
  OrderedJson values = OrderedJson::array();
  while (stream >> std::ws && !stream.eof()) {
    CheckInterrupt();
    OrderedJson value;
    stream >> value;
    values.push_back(std::move(value));
  }
  return values;
}

bool IsList(const OrderedJson& value) {
  return value.is_array() && !value.empty() &&
         (value.front().is_object() || value.front().is_string());
}

/// The entries of an object that holds a whole data set: in a list under some name, or in one for
/// each split. Nothing when there are none.
std::optional<OrderedJson> EntriesIn(const OrderedJson& object) {
  for (const char* name : {"data", "rows", "train", "examples", "items", "instances", "samples",
                           "texts", "documents", "entries", "records", "prompts"}) {
    if (object.contains(name) && IsList(object[name])) return object[name];
  }
  OrderedJson all = OrderedJson::array();
  for (const OrderedJson& value : object) {
    if (IsList(value)) all.insert(all.end(), value.begin(), value.end());
  }
  return all.empty() ? std::nullopt : std::optional(std::move(all));
}

/// The entries of a whole document.
OrderedJson EntriesOf(OrderedJson document, const TextRequest& request) {
  if (document.is_array()) return document;
  if (document.is_object()) {
    const bool entry =
        request.field.empty() ? IsKnownEntry(document) : !ValuesAt(document, request.field).empty();
    if (entry) return OrderedJson::array({document});
    if (auto entries = EntriesIn(document)) return *std::move(entries);
  }
  throw InputError(request.name + ": expected a JSON array of objects with " +
                   std::string(kMainMembers));
}

OrderedJson ParseDocument(std::string_view bytes, const TextRequest& request) {
  CheckDepth(bytes, request.name);
  try {
    return OrderedJson::parse(bytes);
  } catch (const OrderedJson::parse_error& error) {
    try {
      return ParseValues(bytes);
    } catch (const OrderedJson::parse_error&) {
      // It is neither; the first error tells more.
    }
    const std::string_view before = bytes.substr(0, error.byte);
    const int64_t line = 1 + std::count(before.begin(), before.end(), '\n');
    throw InputError(request.name + ":" + std::to_string(line) + ": not valid JSON (" +
                     Reason(error) + "); expected an array of objects with " +
                     std::string(kMainMembers));
  }
}

void ParseJsonArray(std::string_view bytes, const TextRequest& request, EntrySink& sink) {
  const OrderedJson entries = EntriesOf(ParseDocument(bytes, request), request);
  int64_t number = 0;
  for (const OrderedJson& entry : entries) {
    CheckInterrupt();
    const bool wrapped = entry.is_object() && entry.contains("row") && entry["row"].is_object();
    ReadEntry(wrapped ? entry["row"] : entry, request.field,
              request.name + ": entry " + std::to_string(++number), sink);
  }
}

// ---- Tables -----------------------------------------------------------------------------------

/// A record as an entry: names as data sets write them mostly, and the fields.
OrderedJson EntryOf(const std::vector<std::string>& header, const std::vector<std::string>& fields,
                    bool exact) {
  OrderedJson entry = OrderedJson::object();
  for (size_t i = 0; i < header.size(); ++i) {
    const size_t begin = std::min(header[i].find_first_not_of(kBlank), header[i].size());
    const std::string name =
        header[i].substr(begin, header[i].find_last_not_of(kBlank) + 1 - begin);
    entry[exact ? name : Lower(name)] = fields[i];
  }
  return entry;
}

void ParseCsv(std::string_view text, char separator, const TextRequest& request, EntrySink& sink) {
  const std::vector<CsvRecord> records = ReadTable(text, separator, request.name);
  if (records.empty()) return;
  const std::vector<std::string>& header = records.front().fields;
  const bool exact = !request.field.empty();
  if (!exact && TextColumns(header).empty() && !IsKnownEntry(EntryOf(header, header, exact))) {
    std::string names;
    for (const std::string& field : header) {
      names += (names.empty() ? "" : ", ") + field.substr(0, 40);
    }
    throw InputError(request.name + ": no column of texts (the first line names: " + names +
                     "); name the column with the texts \"text\" there, or as FILE:COLUMN");
  }
  for (size_t i = 1; i < records.size(); ++i) {
    const CsvRecord& record = records[i];
    const Where where = request.name + ":" + std::to_string(record.line);
    if (record.fields.size() != header.size()) {
      throw InputError(where + ": " + std::to_string(record.fields.size()) +
                       " fields, the first line names " + std::to_string(header.size()) +
                       "; text with separators in it stands in quotes (RFC 4180)");
    }
    ReadEntry(EntryOf(header, record.fields, exact), request.field, where, sink);
  }
}

// ---- Formats ----------------------------------------------------------------------------------

/// Whether values that take several lines each make up the text.
bool IsDocument(std::string_view text) {
  if (OrderedJson::accept(text)) return true;
  try {
    return !ParseValues(text).empty();
  } catch (const OrderedJson::parse_error&) {
    return false;
  }
}

/// "jsonl", "json", "csv", or empty where the text does not tell. `certain`: an object of any keys
/// is not enough.
std::string SniffFormat(std::string_view text, bool certain) {
  const size_t start = text.find_first_not_of(kBlank);
  if (start == std::string_view::npos) return "";
  if (text[start] == '{') {
    const OrderedJson line =
        ParseJson<OrderedJson>(Lines(text.substr(start, text.find('\n', start) - start))[0]);
    if (line.is_discarded()) return IsDocument(text) ? "json" : "";
    const bool only = IsBlank(text.substr(std::min(text.find('\n', start), text.size())));
    if (only && !IsKnownEntry(line) && EntriesIn(line).has_value()) return "json";
    return IsKnownEntry(line) || (!certain && line.is_object()) ? "jsonl" : "";
  }
  if (text[start] == '[') {
    if (!certain) return OrderedJson::accept(text) ? "json" : "";
    const OrderedJson all = ParseJson<OrderedJson>(text);
    return all.is_array() && !all.empty() && IsKnownEntry(all.front()) ? "json" : "";
  }
  return LooksLikeTable(text) ? "csv" : "";
}

std::string FormatOf(std::string_view text, const std::string& extension) {
  const bool table = extension == ".csv" || extension == ".tsv" || extension == ".tab";
  const bool lines = extension == ".jsonl" || extension == ".ndjson";
  const bool array = extension == ".json";
  std::string found = SniffFormat(text, /*certain=*/array || table || extension == ".txt");
  if (lines) return found == "json" ? found : "jsonl";
  if (array) return found == "jsonl" || found == "csv" ? found : "json";
  if (table) {
    if (found == "json" || found == "jsonl") return found;
    return extension == ".csv" ? "csv" : "tsv";
  }
  return found.empty() ? "txt" : found;
}

}  // namespace

TextFormat ParseCalibrationText(std::string_view text, const TextRequest& request,
                                EntrySink& sink) {
  TextFormat found{FormatOf(text, request.extension), TextSplit::kAuto};
  if (found.format == "txt") {
    found.split = ParsePlain(text, request.split, sink);
  } else if (found.format == "jsonl") {
    ParseJsonLines(text, request, sink);
  } else if (found.format == "json") {
    ParseJsonArray(text, request, sink);
  } else {
    const bool tabs = found.format == "tsv" &&
                      text.substr(0, text.find('\n')).find('\t') != std::string_view::npos;
    ParseCsv(text, tabs ? '\t' : GuessSeparator(text), request, sink);
  }
  return found;
}

}  // namespace ptq
