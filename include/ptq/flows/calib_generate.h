// Calibration texts that a model writes itself, for users who have none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

struct GenerateRequest {
  std::filesystem::path source;     ///< a language model: an .onnx file or its directory
  std::filesystem::path file;       ///< to write: JSON lines of {"text"}
  std::filesystem::path tokenizer;  ///< empty: the one beside the model
  /// Texts that are continued, as --calib reads them; none: each text begins with the token that
  /// the tokenizer puts in front of texts, or with a random one of the vocabulary.
  std::vector<std::filesystem::path> prompts;
  int64_t samples = 128;
  int64_t max_tokens = 256;  ///< written, at most
  int64_t min_tokens = 32;   ///< written before the end is allowed
  double temperature = 1;    ///< 0: always the likeliest token
  double top_p = 0.95;       ///< of the probability, the tokens that are drawn from
  uint64_t seed = 13;
};

struct GenerateReport {
  std::filesystem::path provenance;  ///< the file beside
  int64_t samples = 0;
  int64_t tokens = 0;   ///< that were written
  bool cached = false;  ///< each token was read once
  double seconds = 0;
  std::vector<std::string> notes;
};

/// Writes the texts, and beside them what they were made of. The texts depend on the seed, and not
/// on the number of threads. Throws UsageError for a model that is no language model, what
/// ModelRunner, LoadTextTools and ReadCorpus throw, OutputError.
[[nodiscard]] GenerateReport GenerateCalibration(const GenerateRequest& request);

/// The request as reports and the provenance show it.
[[nodiscard]] nlohmann::ordered_json ToJson(const GenerateRequest& request);

}  // namespace ptq
