// Entries of a data set with all that they hold, for whoever needs more than texts of them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

struct Example {
  nlohmann::ordered_json members;  ///< an object; of a table the fields, as strings
  std::string where;               ///< "tasks.jsonl: entry 3"
};

/// The entries of a file (JSON lines or arrays, tables, Parquet, packed or not) whose members are
/// among those of calibration files; nothing for plain text, arrays of token ids, and what is no
/// file. `more`: other columns to read of a Parquet file. Of two columns between tabs without
/// names, in a .tsv, the members are "source" and "target". Throws InputError as ReadCalibration
/// does.
[[nodiscard]] std::optional<std::vector<Example>> ReadExamples(
    const std::filesystem::path& file, const std::vector<std::string>& more);

/// The text of a member: a string, or the first of a list of them; nothing where there is none.
[[nodiscard]] std::optional<std::string> TextIn(const Example& example, const char* name);
/// All texts of a member: a string, or a list of them.
[[nodiscard]] std::vector<std::string> TextsIn(const Example& example, const char* name);

}  // namespace ptq
