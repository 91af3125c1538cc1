// Texts as files hold them, before any tokenizer: for commands that make and judge calibration
// data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ptq/text/calibration.h"

namespace ptq {

/// One text, pair or conversation.
struct CorpusText {
  std::string text;       ///< as a model reads it; what a template makes of a conversation
  bool rendered = false;  ///< by a chat template: holds its special tokens already
  std::string entry;      ///< an object of JSON that --calib reads as the same: what is written
  std::string domain;     ///< what stands in the domain's field; empty: nothing does
};

struct CorpusOptions {
  std::vector<std::filesystem::path> files;  ///< as CalibrationOptions::files
  TextSplit split = TextSplit::kAuto;
  std::string domain_field;  ///< a member of the entries; empty: none
};

/// What was read of a file.
struct CorpusFile {
  std::string name;
  std::string format;
  std::string sha256;
  int64_t texts = 0;  ///< that were handed over
  int64_t empty = 0;
  std::vector<std::string> notes;
};

/// Hands over all texts of the files, in order; conversations through `chat_template`, which may be
/// null. Throws as ReadCalibration does.
std::vector<CorpusFile> ReadCorpus(const CorpusOptions& options, const ChatTemplate* chat_template,
                                   const std::function<void(CorpusText)>& take);

}  // namespace ptq
