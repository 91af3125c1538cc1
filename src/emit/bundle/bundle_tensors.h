// The tensors of a bundle: which of them are equal, and where each is in the written files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include <onnx/onnx_pb.h>

#include "ptq/transform/marked_tensors.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {

/// Equal tensors have equal keys. Those of a size that no other has are not read for it.
class ContentKeys {
 public:
  explicit ContentKeys(const MarkedTensors& tensors) : tensors_(tensors) {}

  /// Takes note of a model's tensors; of all models, before the first key is asked for.
  void Count(onnx::ModelProto& model);
  [[nodiscard]] std::string Of(const onnx::TensorProto& tensor) const;

 private:
  const MarkedTensors& tensors_;
  std::map<int64_t, int> sizes_;
};

/// Gives the tensors of the written graphs their places: equal bytes lie in the data file once.
class TensorPlacer {
 public:
  TensorPlacer(const MarkedTensors& tensors, const ContentKeys& keys,
               const std::filesystem::path& data)
      : tensors_(tensors), keys_(keys), store_(data) {}
  [[nodiscard]] TensorStore& store() { return store_; }

  /// Places all tensors of a model. Throws OutputError, InputError.
  void Place(onnx::ModelProto& model);

 private:
  void PlaceOne(onnx::TensorProto& tensor);

  const MarkedTensors& tensors_;
  const ContentKeys& keys_;
  TensorStore store_;
  std::map<std::string, google::protobuf::RepeatedPtrField<onnx::StringStringEntryProto>> places_;
};

}  // namespace ptq
