// The activation that a fused operator of com.microsoft applies to its result.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "ptq/base/error.h"
#include "ptq/model/node.h"

namespace ptq {

using FloatFunction = std::function<float(float)>;

/// From the attributes `activation`, `activation_alpha` and `activation_beta`; the identity when
/// there is none. Throws UnsupportedError for a name this build does not know.
[[nodiscard]] inline FloatFunction ReadActivation(const Node& node) {
  const std::string name = node.String("activation", "");
  const auto parameter = [&](const char* attribute, float fallback) {
    return node.Float(std::string("activation_") + attribute, fallback);
  };
  if (name.empty()) return [](float x) { return x; };
  if (name == "Relu") return [](float x) { return x < 0.0f ? 0.0f : x; };
  if (name == "Tanh") return [](float x) { return std::tanh(x); };
  if (name == "Sigmoid") return [](float x) { return 1.0f / (1.0f + std::exp(-x)); };
  if (name == "LeakyRelu") {
    const float alpha = parameter("alpha", 0.01f);
    return [alpha](float x) { return x < 0.0f ? alpha * x : x; };
  }
  if (name == "HardSigmoid") {
    const float alpha = parameter("alpha", 0.2f);
    const float beta = parameter("beta", 0.5f);
    return [=](float x) { return std::clamp(alpha * x + beta, 0.0f, 1.0f); };
  }
  throw UnsupportedError("fused activation '" + name + "'");
}

}  // namespace ptq
