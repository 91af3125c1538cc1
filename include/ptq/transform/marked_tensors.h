// Tensors of several models in one graph: whose they are, their bytes, and which are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"

namespace ptq {

/// External tensors bear the number of the model in whose files their bytes are, so that a graph
/// may be put together from nodes and initializers of all of them.
class MarkedTensors {
 public:
  /// The models must outlive this object.
  explicit MarkedTensors(std::vector<const Model*> models) : models_(std::move(models)) {}

  /// Marks every external tensor of a copy of models[model]'s proto.
  static void Mark(onnx::ModelProto& proto, int model);

  /// Calls visit(tensor) for each initializer and each tensor that is an attribute of a node, to
  /// any depth. The second argument tells initializers.
  static void ForEach(onnx::ModelProto& proto,
                      const std::function<void(onnx::TensorProto&, bool initializer)>& visit);

  /// Whether the bytes of a tensor can be told: strings and types that this build does not know
  /// have none.
  [[nodiscard]] static bool HasBytes(const onnx::TensorProto& tensor);
  [[nodiscard]] int64_t SizeOf(const onnx::TensorProto& tensor) const;
  /// Hands the bytes on in pieces of a few MiB, whose pages are let go behind each. Throws
  /// InputError, Interrupted.
  void Read(const onnx::TensorProto& tensor,
            const std::function<void(std::span<const std::byte>)>& write) const;
  /// SHA-256 of the bytes; each place in a file is read once.
  [[nodiscard]] std::string HashOf(const onnx::TensorProto& tensor) const;

  /// Initializers of the second graph that are equal (type, shape, bytes) to one of the first, each
  /// to another one: that of its name if possible.
  [[nodiscard]] std::unordered_map<std::string, std::string> FindEqual(
      const onnx::GraphProto& first, const onnx::GraphProto& second) const;

 private:
  [[nodiscard]] const WeightReader& ReaderOf(const onnx::TensorProto& tensor) const;
  std::vector<const Model*> models_;
  WeightReader inline_{std::filesystem::path()};
  mutable std::map<std::string, std::string> hashes_;  ///< by place
};

}  // namespace ptq
