// Opens a file as text or as a Parquet table.
#include "read_entries.h"

#include <algorithm>

#include "../backend.h"
#include "built_in_prompts.h"
#include "calibration_text.h"
#include "decode_text.h"
#include "lines.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/file_kind.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

/// Bytes of rows that are handed over at a time.
constexpr size_t kParquetPart = size_t{1} << 18;

/// The columns to read of those that there are. Throws InputError when none can hold texts.
OrderedJson ChooseColumns(const OrderedJson& columns, const std::string& field,
                          const std::vector<std::string>& more, const std::string& name) {
  const std::vector<std::string> known = KnownMembers();
  OrderedJson chosen = OrderedJson::array();
  std::string all;
  for (const OrderedJson& column : columns) {
    const auto text = column.get<std::string>();
    all += (all.empty() ? "" : ", ") + text;
    const bool of_field = field == text || field.starts_with(text + ".");
    if (of_field || std::ranges::find(more, text) != more.end() ||
        (field.empty() && std::ranges::find(known, text) != known.end())) {
      chosen.push_back(column);
    }
  }
  const bool one = field.empty() && columns.size() == 1;
  if (one) return columns;
  if (!chosen.empty()) return chosen;
  throw InputError(name + ": no column " + (field.empty() ? "of texts" : "\"" + field + "\"") +
                   " (there are: " + all + "); FILE:COLUMN says which holds the texts");
}

/// What the library says, about the file.
template <class Call>
auto OfTable(const std::string& name, const Call& call) {
  try {
    return call();
  } catch (const InputError& error) {
    throw InputError(name + ": not a readable Parquet file (" + error.what() + ")");
  }
}

EntryFile ReadParquet(const CalibrationInput& input, const std::vector<std::string>& more,
                      EntrySink& sink) {
  EntryFile file{CalibrationFileName(input.file), "parquet", Sha256OfFile(input.file),
                 TextSplit::kAuto};
  const auto table =
      OfTable(file.name, [&] { return text_backend::ParquetTable::Open(input.file.native()); });
  const auto about = ParseJson<OrderedJson>(OfTable(file.name, [&] { return table->Describe(); }));
  if (about["rows"] == 0) return file;
  const std::string columns =
      DumpJson(ChooseColumns(about["columns"], input.field, more, file.name));
  OfTable(file.name, [&] { table->Select(columns); });
  int64_t number = 0;
  for (;;) {
    CheckInterrupt();
    const std::string rows = OfTable(file.name, [&] { return table->Next(kParquetPart); });
    if (rows.empty()) return file;
    for (const std::string_view row : Lines(rows)) {
      ReadEntry(ParseJson<OrderedJson>(row), input.field,
                file.name + ": row " + std::to_string(++number), sink);
    }
  }
}

}  // namespace

EntryFile ReadEntries(const CalibrationInput& input, TextSplit split,
                      const std::vector<std::string>& more, EntrySink& sink) {
  if (KindOfFile(input.file) == FileKind::kParquet) return ReadParquet(input, more, sink);
  const bool built_in = input.file.empty();
  std::string bytes = built_in ? std::string(BuiltInPrompts()) : ReadTextFile(input.file);
  EntryFile file{CalibrationFileName(input.file), "", Sha256Hex(std::string_view(bytes)),
                 TextSplit::kAuto};
  const std::string text = DecodeText(std::move(bytes), input.file);
  const std::string extension =
      built_in ? ".jsonl" : WithoutPacking(input.file).extension().string();
  const TextFormat found =
      ParseCalibrationText(text, {file.name, extension, input.field, split}, sink);
  file.format = found.format;
  file.split = found.split;
  return file;
}

}  // namespace ptq
