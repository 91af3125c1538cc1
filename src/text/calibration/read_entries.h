// The texts of one file, whatever its format, handed over one after the other.
#pragma once

#include <string>
#include <vector>

#include "entries/entry.h"

#include "ptq/text/calibration.h"
#include "ptq/text/calibration_files.h"

namespace ptq {

/// What a file is.
struct EntryFile {
  std::string name;                    ///< as messages call it
  std::string format;                  ///< "txt", "jsonl", "json", "csv", "tsv" or "parquet"
  std::string sha256;                  ///< of the bytes read
  TextSplit split = TextSplit::kAuto;  ///< resolved, where the file is plain text
};

/// Reads text (plain, JSON, tables), packed or not, and Parquet, told apart by content. Of a
/// Parquet file only some rows are in memory, and only the columns that hold known members, the
/// field, or `more`. Throws InputError as ReadCalibration does.
EntryFile ReadEntries(const CalibrationInput& input, TextSplit split,
                      const std::vector<std::string>& more, EntrySink& sink);

}  // namespace ptq
