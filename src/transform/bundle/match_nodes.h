// Pairs the nodes and values of two graphs that compute the same.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bundle/constant_nodes.h"

#include "ptq/model/value_types.h"

namespace ptq {

/// A graph and the element types of its values.
struct TypedGraph {
  explicit TypedGraph(const onnx::ModelProto& model) : index(model.graph()), types(model) {}
  GraphIndex index;
  ValueTypes types;
};

/// Pairs of nodes and of values, each of which is in one pair at most. The values of nodes that are
/// in none may be paired, too: those of one name.
struct NodePairs {
  std::vector<int> of_first, of_second;                 ///< by node: its partner; -1: none
  std::unordered_map<std::string, std::string> values;  ///< of the second: of the first
};

/// `equal`: initializers of the second graph that are equal to one of the first.
/// `only_constant`: no other nodes than constant ones are paired, and no values by their names.
[[nodiscard]] NodePairs MatchNodes(const TypedGraph& first, const TypedGraph& second,
                                   const std::unordered_map<std::string, std::string>& equal,
                                   bool only_constant);

}  // namespace ptq
