// The rotation of rotary position embeddings, applied to one head of one token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "head_view.h"

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Rotates the first `dims` of `head_size` values; the rest is copied. `cosine` and `sine` hold
/// dims / 2 values. Interleaved pairs are (2j, 2j+1), otherwise (j, j + dims/2). `to` may be
/// `from`.
void RotateHead(const float* from, float* to, const float* cosine, const float* sine, int64_t dims,
                int64_t head_size, bool interleaved);

/// The angle tables and which of their rows each token uses.
struct RotaryTable {
  std::span<const float> cosine;
  std::span<const float> sine;
  int64_t half;  ///< values in a row: half the rotated dimensions
  Shape rows;    ///< per token, batch by batch
};

/// Throws InputError unless both tables have the same shape, and every row lies in the table.
[[nodiscard]] RotaryTable MakeRotaryTable(const Tensor& cosine, const Tensor& sine, Shape rows);

/// Rotates every head of every token, in parallel over the tokens; `to` may be `from`. Throws
/// InputError when a view or the table does not reach as far as the sizes say.
void RotateHeads(const RotaryTable& table, bool interleaved, int64_t batches, int64_t heads,
                 int64_t tokens, int64_t head_size, const HeadView<const float>& from,
                 const HeadView<float>& to);

}  // namespace ptq
