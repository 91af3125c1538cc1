// What a version of an operator may look like: attributes, numbers and types of inputs and outputs.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace ptq {

/// An input or output. Parameters of one schema with the same `type` have one element type.
struct SchemaParameter {
  std::string_view type;
  uint32_t mask = 0;     ///< a bit for each element type; 0: not (only) a tensor
  bool repeats = false;  ///< the last one, for all that follow
  bool mixed = false;    ///< ... which may differ in type
};

struct SchemaAttribute {
  std::string_view name;
  char type = 0;  ///< i f s t g p y, and for lists I F S T G
  bool required = false;
};

struct OperatorSchema {
  int64_t since = 0;  ///< opset version
  int least_inputs = 0;
  int most_inputs = 0;  ///< -1: the operator is gone
  std::vector<SchemaAttribute> attributes;
  std::vector<SchemaParameter> inputs;
  std::vector<SchemaParameter> outputs;
};

/// The schema that an opset gives an operator of ai.onnx ("") or com.microsoft; the oldest one
/// (whose `since` is above) when it came later; nothing for an operator that this build does not
/// know.
[[nodiscard]] std::optional<OperatorSchema> FindSchema(std::string_view domain,
                                                       std::string_view op_type, int64_t opset);

}  // namespace ptq
