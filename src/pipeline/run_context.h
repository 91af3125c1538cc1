// What a run knows besides the recipe: how a model's inputs are made, and what it shares.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "feed_samples.h"
#include "shared_weights.h"
#include "source.h"

#include "ptq/emit/layout.h"
#include "ptq/pipeline/run.h"
#include "ptq/runtime/feeds.h"

namespace ptq {

struct RunContext {
  InputSource inputs;                  ///< what token ids alone do not give
  const FeedSamples* feeds = nullptr;  ///< instead of texts
  std::vector<std::string> makers;     ///< models that make inputs
  int64_t vocabulary = 0;              ///< Companions::VocabularyOf
  // Of a model that is one of several in a directory:
  bool is_part = false;                   ///< it keeps its name; somebody else copies sidecar files
  const SharedWeights* shared = nullptr;  ///< null when it is alone
  size_t model = 0;                       ///< its index in `shared`
  std::filesystem::path folder;           ///< below the directory's root
  std::string obstacle;                   ///< why it cannot be calibrated; found before any work
};

/// The plan and the sizes, before any work.
[[nodiscard]] RunReport StartReport(const Source& source, const Recipe& recipe,
                                    const RunContext& context);
/// The most that a run is expected to hold, in bytes, before any sample is read: of as many tokens
/// as the recipe allows. Throws ResourceError when that is over its budget.
[[nodiscard]] int64_t PredictPeak(const Source& source, const Recipe& recipe, const Plan& plan);
/// Where the written model lies in the output directory.
[[nodiscard]] OutputFiles FilesOf(const Recipe& recipe, const Source& source, const Plan& plan,
                                  const RunContext& context);
/// The whole road behind reading the model.
void Travel(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
            const RunOptions& options, const RunContext& context);

}  // namespace ptq
