// Cuts a calibration file's bytes into texts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ptq/text/calibration.h"

namespace ptq {

struct SourceText {
  std::string text;
  bool rendered = false;  ///< by a chat template: holds its special tokens already
  int64_t number = 0;     ///< place among the file's texts, from 1
};

struct TextFile {
  std::string format;  ///< "txt", "jsonl", "json", "csv" or "tsv"
  TextSplit split = TextSplit::kAuto;
  std::vector<SourceText> texts;
  int64_t empty = 0;  ///< texts without anything but white space, dropped
  std::vector<std::string> notes;
};

/// Content decides the format; `extension` where it does not tell. `name` is what error messages
/// call the file. Throws InputError.
[[nodiscard]] TextFile ParseCalibrationText(std::string_view text, const std::string& name,
                                            const std::string& extension, TextSplit split,
                                            const ChatTemplate* chat_template);

}  // namespace ptq
