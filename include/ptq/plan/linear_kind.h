// What a linear's name tells of its place in the network: which layer, and which part of it.
#pragma once

#include <string>
#include <string_view>

namespace ptq {

struct LinearKind {
  std::string kind;  ///< "self_attn.q_proj": the same for all layers
  int layer = -1;    ///< -1: the name has no number
};

/// The first part of the name that is a number (parts end at '.' and '/') is the layer; the kind is
/// what follows, with further numbers, as those of experts, as '*'. Without a number, or with
/// nothing behind it, the kind is the whole name.
[[nodiscard]] LinearKind KindOfLinear(std::string_view name);

}  // namespace ptq
