// Follows the result of an attention back to the linear that computes its values.
#pragma once

#include <optional>

#include "ptq/model/graph.h"

namespace ptq {

/// Every channel of an attention's result is a weighted mean over the tokens of one channel of its
/// values, so a factor per channel of the values passes through.
struct AttentionValue {
  ValueId value = kNoValue;  ///< [B, T, N]
  int64_t head_size = 0;     ///< D, where each head of the values serves K / N heads; 0: N = K
};

/// The values behind the merged heads `result` [B, T, K] of an attention, plain (MatMul between
/// Transpose and Reshape, with heads repeated for grouped queries) or one operator (ONNX Attention,
/// com.microsoft MultiHeadAttention and GroupQueryAttention). Nothing when the graph has another
/// form, when somebody else reads what lies between (a cache that is given out, say), or when the
/// size of a head is not known before the model runs.
[[nodiscard]] std::optional<AttentionValue> FindAttentionValue(const Graph& graph, ValueId result,
                                                               int64_t k);

}  // namespace ptq
