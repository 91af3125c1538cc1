// Writes edits as JSON that holds protobuf messages as bytes, and reads them back.
#include "ptq/transform/edit_record.h"

#include "ptq/base/error.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using nlohmann::json;

json Binary(const google::protobuf::MessageLite& message) {
  const std::string bytes = message.SerializeAsString();
  return json::binary(std::vector<uint8_t>(bytes.begin(), bytes.end()));
}

template <class Message>
Message Parsed(const json& value) {
  const auto& bytes = value.get_binary();
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw InputError("a checkpoint holds a malformed message");
  }
  return message;
}

}  // namespace

json ToJson(const EditRecord& record) {
  json initializers = json::array();
  for (const auto& tensor : record.store.initializers) initializers.push_back(Binary(tensor));
  json replaced = json::array();
  for (const auto& [node, heirs] : record.replaced) {
    json nodes = json::array();
    for (const auto& heir : heirs) nodes.push_back(Binary(heir));
    replaced.push_back({{"node", node}, {"heirs", std::move(nodes)}});
  }
  return {{"files", record.store.files},
          {"initializers", std::move(initializers)},
          {"contents", record.store.contents},
          {"names", record.store.names},
          {"replaced", std::move(replaced)}};
}

EditRecord EditRecordFromJson(const json& value) {
  try {
    EditRecord record;
    value.at("files").get_to(record.store.files);
    for (const auto& tensor : value.at("initializers")) {
      record.store.initializers.push_back(Parsed<onnx::TensorProto>(tensor));
    }
    value.at("contents").get_to(record.store.contents);
    value.at("names").get_to(record.store.names);
    for (const auto& entry : value.at("replaced")) {
      auto& [node, heirs] = record.replaced.emplace_back();
      node = entry.at("node").get<int>();
      for (const auto& heir : entry.at("heirs")) heirs.push_back(Parsed<onnx::NodeProto>(heir));
    }
    return record;
  } catch (const json::exception& error) {
    throw InputError(std::string("a checkpoint is malformed: ") + JsonReason(error));
  }
}

}  // namespace ptq
