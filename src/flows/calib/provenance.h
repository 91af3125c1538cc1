// What is written beside a calibration file that the program has made.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/text/corpus.h"

namespace ptq {

/// "calib.provenance.json" beside "calib.jsonl".
[[nodiscard]] std::filesystem::path ProvenancePath(const std::filesystem::path& file);

/// Files that were read: names, formats, hashes, counts.
[[nodiscard]] nlohmann::ordered_json FilesJson(const std::vector<CorpusFile>& files);

/// The files of the model of a request, with the hash of the first.
[[nodiscard]] nlohmann::ordered_json ModelJson(const std::filesystem::path& source);

/// Writes the texts and their provenance, each complete or not at all. `body` gets the tool's
/// version and the hash of the texts. Throws OutputError.
void WriteCalibrationFile(const std::filesystem::path& file, std::string_view lines,
                          const nlohmann::ordered_json& body);

}  // namespace ptq
