// What a model is given to be judged on.
#pragma once

#include <cstdint>
#include <vector>

namespace ptq {

/// One text as token ids, with what some models read beside it.
struct TokenizedText {
  std::vector<int64_t> ids;
  std::vector<int64_t> types = {};  ///< token_type_ids, [T]; empty: zeros
  /// What a decoder behind an encoder is to write; empty: the text itself.
  std::vector<int64_t> target = {};
  /// Of a language model: the last tokens that count, the others are their context; 0: all count.
  int64_t scored = 0;
};

}  // namespace ptq
