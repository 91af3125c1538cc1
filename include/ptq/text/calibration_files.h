// What the words of --calib stand for: files, patterns of files, and fields in them.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace ptq {

/// One file to read.
struct CalibrationInput {
  std::filesystem::path file;  ///< "-": standard input; empty: the prompts inside the program
  std::string field;           ///< "messages.0.content": where the texts are; empty: as known
};

/// Each of `words` is the name of a file if there is one; else a pattern (`*`, `?`, `[a-z]`,
/// `{a,b}`), which stands for the files that match it, by name; else one of both followed by a
/// colon and a field. What is none of that is returned as it is. Throws InputError for a pattern
/// that matches no file.
[[nodiscard]] std::vector<CalibrationInput> ResolveCalibrationFiles(
    std::span<const std::filesystem::path> words);

}  // namespace ptq
