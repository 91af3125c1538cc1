// Writes the model file of an output graph whose nodes are back in the model.
#pragma once

#include <filesystem>
#include <string>
#include <unordered_set>

#include <onnx/onnx_pb.h>

#include "ptq/transform/half_storage.h"
#include "ptq/transform/transform.h"

namespace ptq {

class ModelWriter {
 public:
  /// `halves`: constants that the output holds in another form already.
  ModelWriter(OutputGraph& output, const HalfStorage& halves)
      : output_(output), source_(output.source), halves_(halves) {}

  /// Constant nodes and subgraphs may refer to data files that the destination does not have: their
  /// tensors move to the output's. To be called before constants are given to subgraphs.
  void TakeNodeTensors();
  /// Copies the source's initializers that are still read, closes the data file and writes the
  /// model. Throws UnsupportedError for more than 2 GiB without weights, OutputError.
  void Write(const std::filesystem::path& path);
  /// The same for a store that only measures: the bytes of the file that would be written.
  [[nodiscard]] int64_t Measure();

 private:
  void PutTogether();
  void CheckSize() const;
  void WriteInitializers(const std::unordered_set<std::string>& needed);
  void CopyInitializer(const onnx::TensorProto& source);
  void CopyAsHalf(const onnx::TensorProto& source);
  void RewriteExternal(onnx::TensorProto& tensor);
  void TakeTensors(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes);
  void DropStaleDeclarations(const std::unordered_set<std::string>& needed);

  OutputGraph& output_;
  const Graph& source_;
  const HalfStorage& halves_;
};

}  // namespace ptq
