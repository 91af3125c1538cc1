// Names for what is added to a graph, which nothing in it has yet.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include <onnx/onnx_pb.h>

namespace ptq {

/// Names that are taken, once and for all.
class UniqueNames {
 public:
  UniqueNames() = default;
  /// Takes all names in a graph and in those within it (NamesIn).
  explicit UniqueNames(const onnx::GraphProto& graph);

  /// Takes a name; false when it was taken.
  bool Reserve(const std::string& name) { return taken_.insert(name).second; }
  /// `wanted`, or with the first number from 2 on behind it ("weight_2") that makes it new. Taken
  /// from now on.
  [[nodiscard]] std::string Take(const std::string& wanted);

 private:
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, int> next_;  ///< the smallest number that may be free
};

}  // namespace ptq
