// What a run knows besides the recipe: how a model's inputs are made, and what it shares.
#pragma once

#include <string>
#include <vector>

#include "feed_samples.h"
#include "shared_weights.h"
#include "source.h"

#include "ptq/pipeline/run.h"
#include "ptq/runtime/feeds.h"

namespace ptq {

struct RunContext {
  InputSource inputs;                  ///< what token ids alone do not give
  const FeedSamples* feeds = nullptr;  ///< instead of texts
  std::vector<std::string> makers;     ///< models that make inputs
  // Of a model that is one of several in a directory:
  std::string file = "model.onnx";        ///< name that is written
  bool is_part = false;                   ///< somebody else copies the sidecar files
  const SharedWeights* shared = nullptr;  ///< null when it is alone
  size_t model = 0;                       ///< its index in `shared`
};

/// The plan and the sizes, before any work.
[[nodiscard]] RunReport StartReport(const Source& source, const Recipe& recipe,
                                    const RunContext& context);
/// The whole road behind reading the model.
void Travel(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
            const RunOptions& options, const RunContext& context);

}  // namespace ptq
