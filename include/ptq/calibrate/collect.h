// Collects the statistics of a model once, for runs that try several methods on it.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ptq/base/ranks.h"
#include "ptq/calibrate/timings.h"
#include "ptq/plan/recipe.h"

namespace ptq {

struct CollectReport {
  std::filesystem::path file;
  int64_t sites = 0;
  int64_t samples = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
  int64_t peak_bytes = 0;  ///< resident, of the rank that needed most
  Timings timings;
  std::vector<std::string> notes;  ///< what a reader should know of the samples, one sentence each
};

/// Runs the recipe's samples through its source and writes the statistics of every site that any
/// method may quantize, the LM head's included. The file is complete or absent. Several ranks
/// divide the samples; rank 0 writes the file, and it alone has the whole report.
[[nodiscard]] CollectReport CollectStatistics(const Recipe& recipe,
                                              const std::filesystem::path& file, Ranks& ranks);

/// Adds up files that were collected on one model with different samples. Throws InputError when
/// they are from different models.
[[nodiscard]] CollectReport MergeStatistics(std::span<const std::filesystem::path> files,
                                            const std::filesystem::path& merged);

}  // namespace ptq
