// Fields that the generated code of an older ONNX does not know.
#pragma once

#include <string>
#include <vector>

#include <google/protobuf/message.h>

namespace ptq {

/// The bytes of a length-delimited field, as often as it is there.
[[nodiscard]] std::vector<std::string> UnknownFields(const google::protobuf::Message& message,
                                                     int number);

}  // namespace ptq
