// How a model's inputs are made besides what its own graph says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ptq/calibrate/feed_samples.h"
#include "ptq/runtime/feeds.h"

namespace ptq {

struct ModelInputs {
  InputSource source;                  ///< what token ids alone do not give
  const FeedSamples* feeds = nullptr;  ///< instead of texts
  std::vector<std::string> makers;     ///< models that make inputs, for people
  int64_t vocabulary = 0;              ///< Companions::VocabularyOf
  std::string obstacle;                ///< why it cannot be calibrated; found before any work
};

}  // namespace ptq
