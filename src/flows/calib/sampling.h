// Draws tokens from the distribution that a model gives.
#pragma once

#include <cstdint>
#include <random>
#include <span>

namespace ptq {

struct SamplingOptions {
  double temperature = 1;  ///< 0: the likeliest token
  double top_p = 1;        ///< the least likely tokens beyond this much probability are left out
};

/// Uniform in [0, 1), with own arithmetic: the standard's distributions differ between libraries.
[[nodiscard]] double DrawUnit(std::mt19937_64& generator);

/// A token by the softmax of logits / temperature, of the likeliest that have `top_p` of it
/// together (nucleus sampling, Holtzman et al. 2020). Ties go by the token's number. Logits that
/// are no numbers, or −∞, are never drawn. Throws InputError when none is left.
[[nodiscard]] int64_t DrawToken(std::span<const float> logits, const SamplingOptions& options,
                                std::mt19937_64& generator);

}  // namespace ptq
