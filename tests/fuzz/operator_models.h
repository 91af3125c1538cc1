// A model of one node for every operator that the executor knows.
#pragma once

#include <string>
#include <vector>

namespace ptq::fuzz {

/// Its inputs are small tensors of a type that the operator's schema allows, integers constant.
[[nodiscard]] std::vector<std::string> OperatorModels();

}  // namespace ptq::fuzz
