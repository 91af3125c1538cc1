// What a run has done to its output model up to a checkpoint, as JSON that can be stored.
#pragma once

#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/transform/tensor_store.h"

namespace ptq {

struct EditRecord {
  StoreRecord store;
  std::vector<std::pair<int, std::vector<onnx::NodeProto>>> replaced;  ///< source node, its heirs
};

/// Binary values inside: to be stored as CBOR.
[[nodiscard]] nlohmann::json ToJson(const EditRecord& record);
/// Throws InputError when the JSON is not one of ToJson's.
[[nodiscard]] EditRecord EditRecordFromJson(const nlohmann::json& json);

}  // namespace ptq
