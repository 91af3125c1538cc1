// The number of dimensions of values in a graph, as far as it can be told without running it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include <onnx/onnx_pb.h>

namespace ptq {

/// Follows declarations and the common operators backwards. The graph must outlive it unchanged.
class TensorRanks {
 public:
  /// `opset`: the model's ai.onnx import.
  /// `outer`: of the graph around a subgraph, or null; it must outlive this object.
  TensorRanks(const onnx::GraphProto& graph, int64_t opset, TensorRanks* outer = nullptr);
  /// Nothing when it is not certain.
  [[nodiscard]] std::optional<int64_t> Of(const std::string& name);

 private:
  [[nodiscard]] std::optional<int64_t> OfNode(const onnx::NodeProto& node);
  [[nodiscard]] std::optional<int64_t> Broadcast(const onnx::NodeProto& node);
  /// Elements of a one-dimensional value, such as the shape that Reshape is given.
  [[nodiscard]] std::optional<int64_t> LengthOf(const std::string& name);

  int64_t opset_;
  TensorRanks* outer_;
  std::unordered_map<std::string, const onnx::NodeProto*> producers_;
  std::unordered_map<std::string, const onnx::TensorProto*> constants_;
  std::unordered_map<std::string, std::optional<int64_t>> known_;
};

}  // namespace ptq
