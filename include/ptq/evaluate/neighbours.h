// Whether two models find the same nearest texts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ptq/evaluate/embeddings.h"

namespace ptq {

/// The `count` texts (or all others, where there are fewer) whose embeddings have the largest
/// cosine with that of text `query`, ascending by number. Of equal cosines the earlier text is
/// nearer.
[[nodiscard]] std::vector<int64_t> NearestTexts(const Embeddings& embeddings, int64_t query,
                                                int64_t count);

/// The share, 0 … 1, of a text's 10 nearest that both models agree on, mean over the first 200
/// texts (or all, where there are fewer). Nothing for fewer than 12 texts: of 11, all others are
/// the nearest. The embeddings are of the same texts.
[[nodiscard]] std::optional<double> NeighbourOverlap(const Embeddings& a, const Embeddings& b);

}  // namespace ptq
