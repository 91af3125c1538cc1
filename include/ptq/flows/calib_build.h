// A calibration set chosen from a corpus or from logs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/text/calibration.h"
#include "ptq/text/corpus.h"

namespace ptq {

struct BuildRequest {
  std::vector<std::filesystem::path> sources;  ///< as --calib reads them
  std::filesystem::path file;                  ///< to write: JSON lines
  /// Whose hidden states tell texts apart, and whose tokenizer counts tokens; empty: words do both.
  std::filesystem::path model;
  std::filesystem::path tokenizer;  ///< empty: the one beside the model
  TextSplit split = TextSplit::kAuto;
  int64_t samples = 128;
  int64_t min_tokens = 20;             ///< shorter texts are left out
  int64_t max_tokens = 500;            ///< longer ones, too
  std::vector<std::string> languages;  ///< codes; empty: all
  std::vector<std::string> matching;  ///< regular expressions, of which one must match; empty: none
  std::vector<std::string> without;   ///< of which none may match
  bool mask = true;                   ///< secrets and e-mail addresses
  double similarity = 0.8;            ///< from which on a text is a duplicate of an earlier one
  std::string domain_field;           ///< strata; empty: clusters of what texts are like
  std::vector<std::pair<std::string, double>> composition;  ///< shares of the domains
  int64_t clusters = 8;                                     ///< without a domain field
  int64_t candidates = 1024;  ///< texts that are compared with each other, drawn at random
  uint64_t seed = 13;
};

struct BuildStratum {
  std::string name;
  int64_t texts = 0;    ///< that were left after filters and duplicates, or of its cluster
  int64_t samples = 0;  ///< chosen
};

struct BuildReport {
  std::filesystem::path provenance;
  std::vector<CorpusFile> files;
  std::map<std::string, int64_t> dropped;  ///< texts by reason
  int64_t masked = 0;                      ///< secrets and addresses
  int64_t masked_texts = 0;
  int64_t candidates = 0;
  std::vector<BuildStratum> strata;
  int64_t samples = 0;
  int64_t tokens = 0;
  std::vector<std::string> notes;
  double seconds = 0;
};

/// Reads, filters, masks, drops duplicates, chooses and writes; beside the file stands what was
/// done. The same seed and sources give the same file, whatever the number of threads. Throws
/// UsageError for senseless requests, InputError when nothing is left, what ReadCorpus,
/// LoadTextTools and the model's loading throw, OutputError.
[[nodiscard]] BuildReport BuildCalibration(const BuildRequest& request);

[[nodiscard]] nlohmann::ordered_json ToJson(const BuildRequest& request);
/// What the report holds, without times.
[[nodiscard]] nlohmann::ordered_json ToJson(const BuildReport& report);

}  // namespace ptq
