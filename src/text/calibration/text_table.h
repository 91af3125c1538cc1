// Finds the texts in a table of comma- or tab-separated values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "csv.h"

namespace ptq {

/// The separator (comma, semicolon, tab, bar) that the first line has most of outside of quotes; a
/// comma when it has none.
[[nodiscard]] char GuessSeparator(std::string_view text);

/// The columns that hold texts, by the names in a header: "text", or another name that data sets
/// commonly give (the first that is there), or sentence1 with sentence2. Empty when there is none.
[[nodiscard]] std::vector<size_t> TextColumns(const std::vector<std::string>& header);

/// The records of a table, its header first. Between tabs a quote is one that holds a field only
/// where all records have as many fields so. Throws InputError as ReadCsv does.
[[nodiscard]] std::vector<CsvRecord> ReadTable(std::string_view text, char separator,
                                               const std::string& name);

/// Whether text without a telling file name is such a table: a header of short names with one of a
/// text column, and records of as many fields.
[[nodiscard]] bool LooksLikeTable(std::string_view text);

}  // namespace ptq
