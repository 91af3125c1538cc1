// Which inputs and outputs of a node have the type that it computes in.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "flat_graph.h"
#include <onnx/onnx_pb.h>

#include "ptq/model/operator_schemas.h"
#include "ptq/model/value_types.h"

namespace ptq {

/// Asks the schemas of the operators, and knows the few inputs that stay FP32 though these allow
/// FP16.
class SlotReader {
 public:
  explicit SlotReader(const onnx::ModelProto& model);
  /// Fills in the slots of a node whose inputs and outputs are known. Of an operator without a
  /// schema all are fixed.
  void Fill(FlatNode& node, const ValueTypes& types);

 private:
  [[nodiscard]] const OperatorSchema* SchemaOf(const onnx::NodeProto& proto);
  std::map<std::string, int64_t> opsets_;
  std::map<std::string, std::optional<OperatorSchema>> schemas_;
};

}  // namespace ptq
