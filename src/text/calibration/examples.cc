// Collects entries on their way past the readers of calibration files.
#include "ptq/text/examples.h"

#include <algorithm>
#include <utility>

#include "csv.h"
#include "decode_text.h"
#include "lines.h"
#include "read_entries.h"
#include "text_table.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/file_kind.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

/// Keeps the entries, and notices texts that are in none.
class ExampleSink : public EntrySink {
 public:
  explicit ExampleSink(std::string name) : name_(std::move(name)) {}
  void Begin(const OrderedJson& entry) override {
    examples_.push_back({entry, name_ + ": entry " + std::to_string(examples_.size() + 1)});
  }
  void Text(std::string /*text*/) override { plain_ = plain_ || examples_.empty(); }
  void Pair(std::string /*first*/, std::string /*second*/) override {}
  void Conversation(OrderedJson /*messages*/, bool /*chat*/,
                    const std::string& /*where*/) override {}
  [[nodiscard]] std::optional<std::vector<Example>> Take() {
    if (plain_ || examples_.empty()) return std::nullopt;
    return std::move(examples_);
  }

 private:
  std::string name_;
  std::vector<Example> examples_;
  bool plain_ = false;
};

/// Two columns without names; nothing where the first line holds names, or other fields.
std::optional<std::vector<Example>> ReadTwoColumns(const std::filesystem::path& file,
                                                   const std::string& name) {
  if (WithoutPacking(file).extension() != ".tsv") return std::nullopt;
  const std::vector<CsvRecord> records = ReadTabs(DecodeText(ReadTextFile(file), file));
  if (records.empty() || records.front().fields.size() != 2) return std::nullopt;
  OrderedJson header = OrderedJson::object();
  for (const std::string& field : records.front().fields) header[field] = field;
  if (IsKnownEntry(header) || !TextColumns(records.front().fields).empty()) return std::nullopt;
  std::vector<Example> examples;
  for (const CsvRecord& record : records) {
    const std::string where = name + ":" + std::to_string(record.line);
    if (record.fields.size() != 2) {
      throw InputError(where + ": " + std::to_string(record.fields.size()) +
                       " fields between tabs, expected a source and its target");
    }
    examples.push_back({{{"source", record.fields[0]}, {"target", record.fields[1]}}, where});
  }
  return examples;
}

}  // namespace

std::optional<std::vector<Example>> ReadExamples(const std::filesystem::path& file,
                                                 const std::vector<std::string>& more) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error) || IsArrayFile(file)) return std::nullopt;
  const std::string name = CalibrationFileName(file);
  if (KindOfFile(file) != FileKind::kParquet) {
    if (auto columns = ReadTwoColumns(file, name)) return columns;
  }
  ExampleSink sink(name);
  ReadEntries({file, ""}, TextSplit::kAuto, more, sink);
  return sink.Take();
}

std::optional<std::string> TextIn(const Example& example, const char* name) {
  std::vector<std::string> texts = TextsIn(example, name);
  return texts.empty() ? std::nullopt : std::optional(std::move(texts.front()));
}

std::vector<std::string> TextsIn(const Example& example, const char* name) {
  const auto found = example.members.find(name);
  std::vector<std::string> texts;
  if (found == example.members.end()) return texts;
  if (found->is_string()) return {found->get<std::string>()};
  if (!found->is_array()) return texts;
  for (const OrderedJson& item : *found) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace ptq
