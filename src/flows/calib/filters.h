// Which texts of a corpus are wanted at all.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ptq/calibrate/samples.h"
#include "ptq/flows/calib_build.h"
#include "ptq/text/corpus.h"

namespace ptq {

/// A text that passed.
struct KeptText {
  CorpusText text;           ///< masked
  std::vector<int64_t> ids;  ///< of the model's tokenizer; empty without one
  int64_t tokens = 0;        ///< or, without a tokenizer, what they are about
};

struct Kept {
  std::vector<KeptText> texts;             ///< in the order given
  std::map<std::string, int64_t> dropped;  ///< by reason
  int64_t masked = 0;
  int64_t masked_texts = 0;
};

/// Tokens that a text is likely to have: four thirds of its words.
[[nodiscard]] int64_t EstimateTokens(std::string_view text);

/// Masks the texts, and drops those that the request does not want: by length, language, pattern,
/// tokens past `vocabulary` (0: not known), and those that equal an earlier one, exactly or nearly.
/// `tools` may be null.
[[nodiscard]] Kept FilterTexts(const BuildRequest& request, std::vector<CorpusText> texts,
                               const TextTools* tools, int64_t vocabulary);

}  // namespace ptq
