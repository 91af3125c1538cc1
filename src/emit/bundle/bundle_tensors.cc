// Places each tensor of a bundle at the end of the data file, or where an equal one is.
#include "bundle/bundle_tensors.h"

#include <utility>

#include "ptq/base/progress.h"

namespace ptq {

void ContentKeys::Count(onnx::ModelProto& model) {
  MarkedTensors::ForEach(model, [&](onnx::TensorProto& tensor, bool) {
    if (MarkedTensors::HasBytes(tensor)) ++sizes_[tensors_.SizeOf(tensor)];
  });
}

std::string ContentKeys::Of(const onnx::TensorProto& tensor) const {
  const int64_t size = tensors_.SizeOf(tensor);
  const auto counted = sizes_.find(size);
  const bool alone = counted != sizes_.end() && counted->second == 1;
  return std::to_string(size) + ":" + (alone ? std::string() : tensors_.HashOf(tensor));
}

void TensorPlacer::Place(onnx::ModelProto& model) {
  MarkedTensors::ForEach(model, [&](onnx::TensorProto& tensor, bool initializer) {
    const bool external = tensor.data_location() == onnx::TensorProto::EXTERNAL;
    if (external || (initializer && MarkedTensors::HasBytes(tensor))) PlaceOne(tensor);
  });
}

void TensorPlacer::PlaceOne(onnx::TensorProto& tensor) {
  Progress::ShowDetail(tensor.name());
  const int64_t size = tensors_.SizeOf(tensor);
  const std::string key = size < kSmallestExternal ? "" : keys_.Of(tensor);
  onnx::TensorProto placed;
  placed.set_name(tensor.name());
  placed.set_data_type(tensor.data_type());
  *placed.mutable_dims() = tensor.dims();
  if (tensor.has_doc_string()) placed.set_doc_string(tensor.doc_string());
  const auto known = places_.find(key);
  if (!key.empty() && known != places_.end()) {
    placed.set_data_location(onnx::TensorProto::EXTERNAL);
    *placed.mutable_external_data() = known->second;
  } else {
    store_.Store(placed, size,
                 [&](const TensorStore::Write& write) { tensors_.Read(tensor, write); });
    if (!key.empty()) places_[key] = placed.external_data();
  }
  tensor = std::move(placed);
}

}  // namespace ptq
