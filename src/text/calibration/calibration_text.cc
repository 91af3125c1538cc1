// Tells plain text, JSON and tables apart, and cuts them into texts.
#include "calibration_text.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lines.h"
#include "text_table.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/text/chat_template.h"

namespace ptq {
namespace {

/// Keeps the order of keys: chat templates may write an object out again.
using OrderedJson = nlohmann::ordered_json;

void AddText(TextFile& file, std::string text, bool rendered = false) {
  if (IsBlank(text)) {
    ++file.empty;
  } else {
    file.texts.push_back({std::move(text), rendered, 0});
  }
}

// ---- Plain text -------------------------------------------------------------------------------

bool HasBlankLineBetweenTexts(std::span<const std::string_view> lines) {
  const auto first = std::find_if_not(lines.begin(), lines.end(), IsBlank);
  const auto blank = std::find_if(first, lines.end(), IsBlank);
  return std::find_if_not(blank, lines.end(), IsBlank) != lines.end();
}

void AddParagraphs(TextFile& file, std::span<const std::string_view> lines) {
  std::string paragraph;
  const auto finish = [&] {
    if (!paragraph.empty()) file.texts.push_back({std::exchange(paragraph, {}), false, 0});
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

void ParsePlain(std::string_view bytes, TextSplit split, TextFile& file) {
  const std::vector<std::string_view> lines = Lines(bytes);
  if (split == TextSplit::kAuto) {
    split = HasBlankLineBetweenTexts(lines) ? TextSplit::kBlankLine : TextSplit::kLine;
  }
  file.split = split;
  if (split == TextSplit::kDocument) {
    AddText(file, std::string(bytes));
  } else if (split == TextSplit::kBlankLine) {
    AddParagraphs(file, lines);
  } else {
    for (const std::string_view line : lines) AddText(file, std::string(line));
  }
}

// ---- JSON -------------------------------------------------------------------------------------

/// Where an entry stands, for error messages: "calib.jsonl:12" or "calib.json: entry 12".
using Where = std::string;

/// The text of a message's content: a string, null, or a list of parts with "text".
std::string ContentText(const OrderedJson& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  if (!content.is_array()) return text;
  for (const OrderedJson& part : content) {
    if (part.is_object() && part.contains("text") && part["text"].is_string()) {
      text += part["text"].get<std::string>();
    }
  }
  return text;
}

std::string PlainConversation(const OrderedJson& messages) {
  std::string text;
  for (const OrderedJson& message : messages) {
    if (!text.empty()) text += '\n';
    text += message["role"].get<std::string>() + ": " +
            ContentText(message.value("content", OrderedJson()));
  }
  return text;
}

/// Some templates know no system role; its words then lead the first user message, which is what
/// those models' own documentation advises. Empty when there is nothing to merge.
std::optional<OrderedJson> WithSystemMerged(const OrderedJson& messages) {
  if (messages.size() < 2 || messages[0]["role"] != "system" || messages[1]["role"] != "user") {
    return std::nullopt;
  }
  OrderedJson merged = messages;
  merged.erase(merged.begin());
  merged[0]["content"] = ContentText(messages[0].value("content", OrderedJson())) + "\n\n" +
                         ContentText(messages[1].value("content", OrderedJson()));
  return merged;
}

class EntryReader {
 public:
  EntryReader(const ChatTemplate* chat_template, TextFile& file)
      : chat_template_(chat_template), file_(file) {}

  void Add(const OrderedJson& entry, const Where& where) {
    if (entry.is_string()) return AddText(file_, entry.get<std::string>());
    if (!entry.is_object())
      throw InputError(where + ": expected an object, not " + DumpJson(entry));
    for (const char* key : {"text", "prompt"}) {
      if (!entry.contains(key)) continue;
      if (!entry[key].is_string()) {
        throw InputError(where + ": \"" + key + "\" must be a string");
      }
      return AddText(file_, entry[key].get<std::string>());
    }
    if (entry.contains("messages")) return AddConversation(entry["messages"], where);
    std::string keys;
    for (const auto& item : entry.items()) keys += (keys.empty() ? "" : ", ") + item.key();
    throw InputError(where + ": no \"text\", \"prompt\" or \"messages\" (keys: " +
                     (keys.empty() ? "none" : keys) + ")");
  }

  void WriteNotes() const {
    if (plain_ > 0) {
      file_.notes.push_back(std::to_string(plain_) +
                            " conversations were written as \"role: content\" lines, because the "
                            "model has no chat template.");
    }
    if (merged_ > 0) {
      file_.notes.push_back("In " + std::to_string(merged_) +
                            " conversations the system message was put into the first user "
                            "message, because the chat template refuses the system role.");
    }
  }

 private:
  void AddConversation(const OrderedJson& messages, const Where& where) {
    if (!messages.is_array()) throw InputError(where + ": \"messages\" must be an array");
    for (const OrderedJson& message : messages) {
      if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
        throw InputError(where + ": each message needs \"role\" and \"content\"");
      }
    }
    if (messages.empty()) return AddText(file_, "");
    if (chat_template_ == nullptr) {
      ++plain_;
      return AddText(file_, PlainConversation(messages));
    }
    AddText(file_, Render(messages, where), /*rendered=*/true);
  }

  std::string Render(const OrderedJson& messages, const Where& where) {
    try {
      return chat_template_->Render(DumpJson(messages));
    } catch (const InputError& refusal) {
      const auto merged = WithSystemMerged(messages);
      if (!merged) {
        throw InputError(where + ": the chat template refuses the messages (" + refusal.what() +
                         ")");
      }
      ++merged_;
      try {
        return chat_template_->Render(merged->dump());
      } catch (const InputError& error) {
        throw InputError(where + ": the chat template refuses the messages (" + error.what() + ")");
      }
    }
  }

  const ChatTemplate* chat_template_;
  TextFile& file_;
  int64_t plain_ = 0;
  int64_t merged_ = 0;
};

/// The library's message without its own position and error number.
std::string Reason(const OrderedJson::exception& error) {
  std::string_view text = error.what();
  if (const size_t colon = text.find(": "); colon != std::string_view::npos) {
    text.remove_prefix(colon + 2);
  }
  return std::string(text);
}

void ParseJsonLines(std::string_view bytes, const std::string& name, EntryReader& reader) {
  int64_t number = 0;
  for (const std::string_view line : Lines(bytes)) {
    CheckInterrupt();
    ++number;
    if (IsBlank(line)) continue;
    const Where where = name + ":" + std::to_string(number);
    OrderedJson entry;
    try {
      entry = OrderedJson::parse(line);
    } catch (const OrderedJson::exception& error) {
      throw InputError(where + ": not valid JSON (" + Reason(error) +
                       "); expected one object a line with \"text\", \"prompt\" or \"messages\"");
    }
    reader.Add(entry, where);
  }
}

void ParseJsonArray(std::string_view bytes, const std::string& name, EntryReader& reader) {
  OrderedJson entries;
  try {
    entries = OrderedJson::parse(bytes);
  } catch (const OrderedJson::parse_error& error) {
    const std::string_view before = bytes.substr(0, error.byte);
    const int64_t line = 1 + std::count(before.begin(), before.end(), '\n');
    throw InputError(name + ":" + std::to_string(line) + ": not valid JSON (" + Reason(error) +
                     "); expected an array of objects with \"text\", \"prompt\" or \"messages\"");
  }
  if (!entries.is_array()) {
    throw InputError(name + ": expected a JSON array of objects with \"text\", \"prompt\" or " +
                     "\"messages\"");
  }
  int64_t number = 0;
  for (const OrderedJson& entry : entries) {
    reader.Add(entry, name + ": entry " + std::to_string(++number));
  }
}

// ---- Tables -----------------------------------------------------------------------------------

void ParseCsv(std::string_view text, char separator, const std::string& name, TextFile& file) {
  const std::vector<CsvRecord> records = ReadTable(text, separator, name);
  if (records.empty()) return;
  const std::vector<std::string>& header = records.front().fields;
  const std::vector<size_t> columns = TextColumns(header);
  if (columns.empty()) {
    std::string names;
    for (const std::string& field : header) {
      names += (names.empty() ? "" : ", ") + field.substr(0, 40);
    }
    throw InputError(name + ": no column of texts (the first line names: " + names +
                     "); name the column with the texts \"text\" there, or give JSON lines");
  }
  for (size_t i = 1; i < records.size(); ++i) {
    const CsvRecord& record = records[i];
    if (record.fields.size() != header.size()) {
      throw InputError(name + ":" + std::to_string(record.line) + ": " +
                       std::to_string(record.fields.size()) + " fields, the first line names " +
                       std::to_string(header.size()) +
                       "; text with separators in it stands in quotes (RFC 4180)");
    }
    for (const size_t column : columns) AddText(file, record.fields[column]);
  }
}

// ---- Formats ----------------------------------------------------------------------------------

bool IsEntry(const OrderedJson& json) {
  if (!json.is_object()) return false;
  return json.contains("text") || json.contains("prompt") || json.contains("messages");
}

/// "jsonl", "json", "csv", or empty where the text does not tell. `certain`: an object of any keys
/// is not enough.
std::string SniffFormat(std::string_view text, bool certain) {
  const size_t start = text.find_first_not_of(kBlank);
  if (start == std::string_view::npos) return "";
  if (text[start] == '{') {
    const OrderedJson line =
        ParseJson<OrderedJson>(Lines(text.substr(start, text.find('\n', start) - start))[0]);
    return IsEntry(line) || (!certain && line.is_object()) ? "jsonl" : "";
  }
  if (text[start] == '[') {
    if (!certain) return OrderedJson::accept(text) ? "json" : "";
    const OrderedJson all = ParseJson<OrderedJson>(text);
    return all.is_array() && !all.empty() && IsEntry(all.front()) ? "json" : "";
  }
  return LooksLikeTable(text) ? "csv" : "";
}

std::string FormatOf(std::string_view text, const std::string& extension) {
  if (extension == ".csv") return "csv";
  if (extension == ".tsv" || extension == ".tab") return "tsv";
  const bool lines = extension == ".jsonl" || extension == ".ndjson";
  const bool array = extension == ".json";
  std::string found = SniffFormat(text, /*certain=*/array || extension == ".txt");
  if (lines) return found == "json" ? found : "jsonl";
  if (array) return found == "jsonl" ? found : "json";
  return found.empty() ? "txt" : found;
}

}  // namespace

TextFile ParseCalibrationText(std::string_view text, const std::string& name,
                              const std::string& extension, TextSplit split,
                              const ChatTemplate* chat_template) {
  TextFile file;
  file.format = FormatOf(text, extension);
  EntryReader reader(chat_template, file);
  if (file.format == "txt") {
    ParsePlain(text, split, file);
  } else if (file.format == "jsonl") {
    ParseJsonLines(text, name, reader);
  } else if (file.format == "json") {
    ParseJsonArray(text, name, reader);
  } else {
    ParseCsv(text, file.format == "tsv" ? '\t' : GuessSeparator(text), name, file);
  }
  reader.WriteNotes();
  for (size_t i = 0; i < file.texts.size(); ++i) file.texts[i].number = int64_t(i) + 1;
  return file;
}

}  // namespace ptq
