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
};

struct TextFile {
  std::string format;  ///< "txt", "jsonl" or "json"
  TextSplit split = TextSplit::kAuto;
  std::vector<SourceText> texts;
  int64_t empty = 0;  ///< texts without anything but white space, dropped
  std::vector<std::string> notes;
};

/// `extension` decides the format (".txt", ".jsonl", ".json"); with any other, the first bytes do.
/// `name` is what error messages call the file. Throws InputError.
[[nodiscard]] TextFile ParseCalibrationText(std::string_view bytes, const std::string& name,
                                            const std::string& extension, TextSplit split,
                                            const ChatTemplate* chat_template);

}  // namespace ptq
