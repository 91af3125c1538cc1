// A calibration set judged by what is known to matter.
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

/// What a set must reach.
struct CheckLimits {
  int64_t samples = 64;         ///< texts at least
  int64_t median = 16;          ///< tokens of the middle text at least
  double short_texts = 0.2;     ///< share of texts under eight tokens at most
  double duplicates = 0.1;      ///< share of texts that nearly equal an earlier one at most
  double distinct = 0.5;        ///< different runs of three words among all at least
  double spread = 0.25;         ///< of hidden states, as a part of the built-in prompts', at least
  double imbalance = 0.1;       ///< of a domain's share from the wanted one at most
  double largest_domain = 0.8;  ///< share of a domain at most, where no composition is given
  double overlap = 0.01;        ///< share of texts that have a run of 13 words of evaluation texts
  double alpha_change = 0.1;    ///< of scaling exponents between halves, mean, at most
  double loss_change = 0.1;     ///< more loss by the other half's scales and codes at most
};

struct CheckRequest {
  std::vector<std::filesystem::path> files;  ///< as --calib reads them; none: the built-in prompts
  std::filesystem::path model;               ///< whose states and scales are looked at; empty: none
  std::filesystem::path tokenizer;           ///< empty: the one beside the model
  TextSplit split = TextSplit::kAuto;
  std::string domain_field;
  std::vector<std::pair<std::string, double>> composition;
  std::vector<std::filesystem::path> eval_texts;
  int64_t samples = 128;  ///< texts that the model runs on, at most
  int64_t seq_len = 512;  ///< tokens of each at most
  uint64_t seed = 13;
  bool convergence = true;
  CheckLimits limits;
};

/// One question and its answer.
struct CheckVerdict {
  std::string name;
  double value = 0;
  bool at_least = true;  ///< else at most
  double limit = 0;
  std::string what;    ///< what the number is
  std::string advice;  ///< what to do when it fails

  [[nodiscard]] bool passed() const { return at_least ? value >= limit : value <= limit; }
};

struct CheckReport {
  std::vector<CorpusFile> files;
  int64_t texts = 0;
  int64_t tokens = 0;
  bool estimated = false;  ///< tokens, from words
  int64_t shortest = 0;
  int64_t median = 0;
  int64_t longest = 0;
  std::map<std::string, double> domains;  ///< shares
  std::vector<CheckVerdict> verdicts;
  std::vector<std::string> notes;
  double seconds = 0;

  [[nodiscard]] bool passed() const;
};

/// Reads the set and answers. Throws UsageError for senseless requests, and what ReadCorpus,
/// LoadTextTools and the model's loading throw.
[[nodiscard]] CheckReport CheckCalibration(const CheckRequest& request);

[[nodiscard]] nlohmann::ordered_json ToJson(const CheckRequest& request);
[[nodiscard]] nlohmann::ordered_json ToJson(const CheckReport& report);

}  // namespace ptq
