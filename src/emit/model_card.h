// The README of a model's repository, whose front matter the Hub reads.
#pragma once

#include <string>

namespace ptq {

/// The card of the quantized model: a front matter says `base_model_relation: quantized`, and
/// `base_model` when it named none and `base_model` is not empty; the text begins with a pointer to
/// quantization_metadata.json. Everything else keeps its bytes, line ends included. Text that is
/// not in an encoding that extends ASCII is returned as it is.
[[nodiscard]] std::string QuantizedCard(const std::string& card, const std::string& base_model);

}  // namespace ptq
