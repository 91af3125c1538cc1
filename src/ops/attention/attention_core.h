// Scaled dot-product attention over grouped heads: the one loop behind every attention operator.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "head_view.h"

#include "ptq/tensor/shape.h"

namespace ptq {

/// A term added to the scores; element (b, h, t, s) at data[b·batch + h·head + t·query + s·key],
/// stride 0 where it repeats. Keys from `keys` on count as -infinity.
struct ScoreBias {
  std::span<const float> data;
  int64_t batch = 0;
  int64_t head = 0;
  int64_t query = 0;
  int64_t key = 1;
  int64_t keys = 0;
};

/// Which stage of the scores is handed out as [B, H, T, S]. Keys that may not be used have
/// -infinity in kBiased and 0 in kUsed and kProbabilities.
enum class ScoreStage { kNone, kProducts, kCapped, kBiased, kUsed, kProbabilities };

/// Attention of `queries` tokens in `heads` heads to `keys` tokens in `kv_heads` heads, of which
/// each serves heads / kv_heads consecutive query heads.
///
///   scores = scale · q kᵀ; softcap · tanh(scores / softcap); + biases; softmax; · v
///
/// Query t of batch b stands at position p = offset[b] + t among the keys. It may use key s when
/// s lies in [first_key[b], end_key[b]), s <= p if `causal`, p - left_window <= s and
/// s <= p + right_window (a negative window is unbounded). A query that may use no key gets zeros.
struct AttentionProblem {
  int64_t batches = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t head_size = 0;
  int64_t value_size = 0;
  HeadView<const float> q;
  HeadView<const float> k;  ///< with `keys_by_column`, element d of token t at d·token + t
  HeadView<const float> v;
  HeadView<float> out;
  bool keys_by_column = false;
  float scale = 1.0f;
  float softcap = 0.0f;  ///< 0: none
  bool causal = false;
  int64_t left_window = -1;
  int64_t right_window = -1;
  Shape offset;     ///< empty: all 0
  Shape first_key;  ///< empty: all 0
  Shape end_key;    ///< empty: all `keys`
  /// [B, T] or empty: keys [begin, end) outside of which a query uses none.
  std::vector<std::pair<int64_t, int64_t>> row_keys;
  std::vector<ScoreBias> biases;
  bool half_probabilities = false;  ///< rounded to binary16 before they meet v
  bool smooth = false;              ///< one more logit of 0 in the denominator
  std::span<const float> sinks;  ///< one more logit per head in the denominator; wins over `smooth`
  ScoreStage stage = ScoreStage::kNone;
  std::span<float> scores;  ///< [B, H, T, S] of `stage`
};

/// Throws InputError when something does not reach as far as the sizes say. In parallel over
/// batches, heads and blocks of queries; no more than one block of scores per task is in memory.
/// The blocks depend on the shape alone.
void RunAttention(const AttentionProblem& problem);

/// The default scale, 1 / sqrt(head_size).
[[nodiscard]] float DefaultAttentionScale(int64_t head_size);

}  // namespace ptq
