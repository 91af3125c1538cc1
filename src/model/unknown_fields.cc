// Reads unknown fields by reflection.
#include "unknown_fields.h"

#include <google/protobuf/unknown_field_set.h>

namespace ptq {

std::vector<std::string> UnknownFields(const google::protobuf::Message& message, int number) {
  std::vector<std::string> found;
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const auto& field = unknown.field(i);
    const bool bytes = field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED;
    if (bytes && field.number() == number) found.push_back(field.length_delimited());
  }
  return found;
}

}  // namespace ptq
