// One calibration file as rows of token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "ptq/text/calibration.h"
#include "ptq/text/calibration_files.h"

namespace ptq {

struct CalibrationSource {
  CalibrationFile file;                     ///< what was read; nothing has been drawn yet
  std::vector<std::vector<int64_t>> rows;   ///< ids of each text; empty for one that is skipped
  std::vector<std::vector<int64_t>> types;  ///< of pairs, as in CalibrationSet; may be empty
  std::vector<int64_t> cut;            ///< tokens that each text has lost already; may be empty
  TextSplit split = TextSplit::kAuto;  ///< resolved, where the file is plain text
  std::vector<std::string> notes;
};

/// Uniform in [0, bound). Own arithmetic, because the standard's distributions differ between
/// libraries.
[[nodiscard]] uint64_t DrawBelow(std::mt19937_64& generator, uint64_t bound);

/// `wanted` of `count` indices, drawn without replacement, ascending.
[[nodiscard]] std::vector<size_t> DrawIndices(std::mt19937_64& generator, size_t count,
                                              size_t wanted);

/// Reads and tokenises a file. `generator`
/// thins out what is far more than can be used. Throws as ReadCalibration does.
[[nodiscard]] CalibrationSource ReadSource(const CalibrationInput& input,
                                           const CalibrationOptions& options,
                                           const Tokenizer* tokenizer,
                                           const ChatTemplate* chat_template,
                                           std::mt19937_64& generator);

}  // namespace ptq
