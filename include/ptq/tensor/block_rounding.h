// How ONNX Runtime's CPU kernels of MatMulNBits round activations at accuracy level 4.
#pragma once

#include <cstdint>
#include <span>

namespace ptq {

/// The accuracy level of MatMulNBits at which activations are rounded.
inline constexpr int kRoundedLevel = 4;

/// Whether there is a kernel that rounds at level 4 for codes of so many bits in groups of `group`
/// channels; without one nothing is rounded. Measured in ONNX Runtime 1.32 on x86.
[[nodiscard]] bool RoundsInBlocks(int bits, int64_t group);

/// Rounds one row in place, on this thread, as RoundBlocks.
void RoundRow(std::span<float> row, int64_t block);
/// Rounds rows x[rows, K] in place, each in blocks of `block` channels of which the last may have
/// fewer: to the nearest level, halves to even, in the steps and the precision of the kernels.
/// Thread-safe; on all threads.
void RoundBlocks(std::span<float> x, int64_t k, int64_t block);

}  // namespace ptq
