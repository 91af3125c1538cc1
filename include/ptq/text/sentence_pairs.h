// Reads pairs of sentences with gold scores of their similarity.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ptq {

/// N pairs, in the file's order.
struct SentencePairs {
  std::vector<std::string> first;   ///< [N], UTF-8
  std::vector<std::string> second;  ///< [N], UTF-8
  std::vector<double> scores;       ///< [N], finite; larger means more alike, in any unit
};

/// The pairs of a file, or nothing when it is not one of pairs:
///   .jsonl       objects with "sentence1", "sentence2" and "score", if the first one has
///                "sentence1";
///   .tsv, .csv   fields separated by tabs and not quoted, or, in a .csv whose first line has no
///                tab, by commas (or semicolons) and quoted as in RFC 4180. Columns go by the names
///                sentence1, sentence2 and score (or similarity_score, label) where the first line
///                has them. Without names, three fields between commas are both
///                sentences and the score; others are as in the STS benchmark, where the fifth
///                field is the score and the sixth and seventh are the sentences.
/// Throws InputError, with the line, for a missing, empty or malformed file.
[[nodiscard]] std::optional<SentencePairs> ReadSentencePairs(const std::filesystem::path& file);

}  // namespace ptq
