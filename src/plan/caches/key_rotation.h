// How keys turn with the position of their token.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/model/graph.h"

namespace ptq {

/// Channels of a head that turn in pairs, and whether pairs lie side by side.
struct KeyRotation {
  int64_t channels = 0;  ///< leading ones; kAllChannels: those that there are
  bool interleaved = false;
  /// Angles by which some positions turn each pair, as far as a table tells.
  std::vector<std::vector<float>> turns = {};
};

inline constexpr int64_t kAllChannels = int64_t{1} << 30;

/// By the tables of cosines and sines [positions, pairs] that are the inputs `first` and behind of
/// a node. Where there are none all channels may turn by any angle.
[[nodiscard]] KeyRotation ReadKeyRotation(const Graph& graph, int node, size_t first,
                                          bool interleaved);

/// That of a RotaryEmbedding which makes `keys`, or of plain nodes that do the same,
/// x · cos + Concat(−x₂, x₁) · sin. None where they are neither.
[[nodiscard]] KeyRotation RotationBehind(const Graph& graph, ValueId keys);

/// Whether sines or cosines are among what `keys` are computed of behind the last product.
[[nodiscard]] bool TurnsSomehow(const Graph& graph, ValueId keys);

}  // namespace ptq
