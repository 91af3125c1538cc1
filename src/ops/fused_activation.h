// The activation that a fused operator of com.microsoft applies to its result.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "array.h"

#include "ptq/base/error.h"
#include "ptq/model/node.h"

namespace ptq {

using FloatFunction = std::function<float(float)>;

/// From the attributes `activation` and `activation_params`, or `activation_alpha` and
/// `activation_beta`; an empty function when there is none. Throws UnsupportedError for a name this
/// build does not know.
[[nodiscard]] inline FloatFunction ReadActivation(const Node& node) {
  const std::string name = node.String("activation", "");
  const std::vector<float> values = node.Floats("activation_params");
  const auto alpha_or = [&](float fallback) {
    return values.empty() ? node.Float("activation_alpha", fallback) : values[0];
  };
  const auto beta_or = [&](float fallback) {
    return values.size() < 2 ? node.Float("activation_beta", fallback) : values[1];
  };
  if (name.empty()) return {};
  if (name == "Relu") return [](float x) { return x < 0.0f ? 0.0f : x; };
  if (name == "Tanh") return [](float x) { return std::tanh(x); };
  if (name == "Sigmoid") return [](float x) { return 1.0f / (1.0f + std::exp(-x)); };
  if (name == "LeakyRelu") {
    const float alpha = alpha_or(0.01f);
    return [alpha](float x) { return x < 0.0f ? alpha * x : x; };
  }
  if (name == "HardSigmoid") {
    const float alpha = alpha_or(0.2f);
    const float beta = beta_or(0.5f);
    return [=](float x) { return std::clamp(alpha * x + beta, 0.0f, 1.0f); };
  }
  if (name == "Clip" && values.size() == 2) {
    return
        [low = values[0], high = values[1]](float x) { return std::min(std::max(x, low), high); };
  }
  throw UnsupportedError("fused activation '" + name + "'");
}

/// x = activation(x) in place; nothing for an empty function.
inline void Apply(const FloatFunction& activation, Tensor& x) {
  if (!activation) return;
  float* data = x.mutable_data<float>().data();
  ParallelForTiles(x.size(), kElementTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) data[i] = activation(data[i]);
  });
}

}  // namespace ptq
