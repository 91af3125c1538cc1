// Keys and values of past tokens: layouts of heads in tensors, and the cache with new tokens
// appended.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention_core.h"

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Heads of a tensor [B, H, T, D].
[[nodiscard]] HeadView<const float> HeadsFirst(std::span<const float> data, int64_t heads,
                                               int64_t tokens, int64_t head_size);
/// Heads of a tensor [B, T, C] in which head h of a token starts at h · head_size.
[[nodiscard]] HeadView<const float> TokensFirst(std::span<const float> data, int64_t tokens,
                                                int64_t channels, int64_t head_size);
/// The same for results.
[[nodiscard]] HeadView<float> Writable(const HeadView<const float>& view, std::span<float> data);

/// A contiguous [batches, heads, capacity, head_size] that holds, for each batch b, the first
/// past_used[b] tokens of `past` [B, H, P, D] (undefined: none), then `tokens` of `fresh`, then
/// zeros. Throws InputError when `past` has another shape or something does not fit.
[[nodiscard]] Tensor AppendTokens(const Tensor& past, const Shape& past_used,
                                  const HeadView<const float>& fresh, int64_t heads, int64_t tokens,
                                  int64_t head_size, int64_t capacity);
/// The same into memory for that tensor; `past` holds `past_tokens` tokens per head, or nothing.
void AppendTokensTo(std::span<float> out, std::span<const float> past, int64_t past_tokens,
                    const Shape& past_used, const HeadView<const float>& fresh, int64_t heads,
                    int64_t tokens, int64_t head_size, int64_t capacity);

/// `bias` broadcast to [B, H, T, S] with numpy's rules, but for the last dimension: one shorter
/// than `keys` is padded with -infinity, as ai.onnx Attention asks. Throws InputError when it does
/// not fit.
[[nodiscard]] ScoreBias BroadcastBias(const Tensor& bias, int64_t batches, int64_t heads,
                                      int64_t queries, int64_t keys);

}  // namespace ptq
