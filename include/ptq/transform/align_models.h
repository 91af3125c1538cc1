// Where the graphs of two models agree, and the regions in which they differ.
#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

namespace ptq {

/// What of a graph is switched: the regions in which two models differ, or all of it.
enum class SwitchForm { kLinear, kWhole };

/// A region of a graph for which the other model has another one: both compute the same values from
/// values that both models have.
struct SwitchedRegion {
  std::array<std::vector<int>, 2> nodes;  ///< indices into each graph's nodes, in their order
  std::vector<std::string> outputs;       ///< as the first graph calls them
};

/// Two graphs laid over each other. "Constant" nodes compute from initializers alone; they belong
/// to no region. A node of the second graph that no list names is not needed.
struct Alignment {
  std::vector<std::pair<int, int>> common;  ///< nodes that compute the same in both
  std::vector<SwitchedRegion> regions;
  /// Constant nodes, and those of them whose result is a large tensor that a runtime computes once
  /// when it loads the model, which it does only outside of branches.
  std::array<std::unordered_set<int>, 2> constant, outside;
  /// What of the second graph is a value of the first one.
  std::unordered_map<std::string, std::string> names;
};

/// `equal`: initializers of the second graph whose bytes are those of one of the first. Nodes of
/// both graphs are in an order in which they can run (SortNodes). Any answer is right that pairs
/// values of one type and leaves no cycle: a paired value is that of the model that runs. Nodes are
/// paired when operator, attributes and inputs are; values between different nodes when their names
/// and types are. A region grows until nothing outside lies on a way from it to itself.
[[nodiscard]] Alignment AlignModels(const onnx::ModelProto& first, const onnx::ModelProto& second,
                                    const std::unordered_map<std::string, std::string>& equal,
                                    SwitchForm form);

/// Puts the nodes of a graph into an order in which they can run. Throws InputError for a cycle.
void SortNodes(onnx::GraphProto& graph);

}  // namespace ptq
