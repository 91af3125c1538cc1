// Cuts a calibration file's text into the texts that it holds.
#pragma once

#include <string>
#include <string_view>

#include "entries/entry.h"

#include "ptq/text/calibration.h"

namespace ptq {

/// How a file is called, and how the user wants it read.
struct TextRequest {
  std::string name;       ///< for messages
  std::string extension;  ///< ".jsonl"; counts where the content does not tell the format
  std::string field;      ///< as in CalibrationInput
  TextSplit split = TextSplit::kAuto;
};

struct TextFormat {
  std::string format;                  ///< "txt", "jsonl", "json", "csv" or "tsv"
  TextSplit split = TextSplit::kAuto;  ///< resolved, where it is plain text
};

/// Hands the texts to the sink in their order. Throws InputError.
TextFormat ParseCalibrationText(std::string_view text, const TextRequest& request, EntrySink& sink);

}  // namespace ptq
