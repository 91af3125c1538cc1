// Checks the operands of each node against its schema, and the dimensions of tensors and inputs.
#include "check_proto.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "requantize/dequantize.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node.h"
#include "ptq/model/node_builder.h"
#include "ptq/model/operator_schemas.h"
#include "ptq/tensor/shape.h"

namespace ptq {
namespace {

struct Needed {
  int inputs = 0;
  bool named = false;  ///< none of them may be absent
};

/// Operators of ai.onnx of which inputs may be absent in front of some that may not.
bool MayLackFirst(const std::string& op_type) {
  return op_type == "Loop" || op_type == "Scan" || op_type == "Resize";
}

/// Inputs that an operator needs; none for one that is not known.
class NeededInputs {
 public:
  explicit NeededInputs(const onnx::ModelProto& model) : model_(model) {}

  Needed Of(const onnx::NodeProto& node) {
    if (!IsKnownDomain(node.domain())) return {};
    const auto [entry, fresh] = known_.try_emplace({node.domain(), node.op_type()});
    if (fresh) {
      const std::string domain = node.domain() == "ai.onnx" ? "" : node.domain();
      const auto schema = FindSchema(domain, node.op_type(), OpsetOf(model_, node.domain()));
      if (schema.has_value()) {
        entry->second = {schema->least_inputs, domain.empty() && !MayLackFirst(node.op_type())};
      }
    }
    return entry->second;
  }

 private:
  const onnx::ModelProto& model_;
  std::map<std::pair<std::string, std::string>, Needed> known_;
};

void CheckNode(const onnx::NodeProto& proto, Needed needed) {
  const Node node(proto, 0);
  if (node.input_count() < needed.inputs) {
    throw InputError("node '" + node.name() + "' (" + node.op_type() + ") has " +
                     std::to_string(node.input_count()) + " inputs, and needs " +
                     std::to_string(needed.inputs));
  }
  for (int i = 0; needed.named && i < needed.inputs; ++i) {
    if (node.has_input(i)) continue;
    throw InputError("node '" + node.name() + "' (" + node.op_type() + ") lacks input number " +
                     std::to_string(i));
  }
  if (node.output_count() > 0 || !IsKnownDomain(proto.domain())) return;
  throw InputError("node '" + node.name() + "' (" + node.op_type() + ") has no output");
}

/// `dims`: -1 where one is not fixed.
void CheckDims(const std::string& what, const Shape& dims) {
  try {
    static_cast<void>(NumElements(dims));
  } catch (const InputError& error) {
    throw InputError(what + ": " + error.what());
  }
}

void CheckTensor(const onnx::TensorProto& tensor) {
  const Shape dims(tensor.dims().begin(), tensor.dims().end());
  for (const int64_t dim : dims) {
    if (dim < 0) throw InputError("tensor '" + tensor.name() + "' has a negative dimension");
  }
  CheckDims("tensor '" + tensor.name() + "'", dims);
  for (const auto& place : tensor.external_data()) {
    if (place.key() != kQuantizedKey) continue;  // it is our own, and put in later
    throw InputError("tensor '" + tensor.name() + "': external data with an entry '" + place.key() +
                     "', which the ONNX specification does not know");
  }
}

void CheckSparse(const onnx::SparseTensorProto& sparse) {
  CheckTensor(sparse.values());
  CheckTensor(sparse.indices());
  CheckDims("sparse tensor '" + sparse.values().name() + "'",
            Shape(sparse.dims().begin(), sparse.dims().end()));
}

void CheckAttribute(const onnx::AttributeProto& attribute) {
  if (attribute.has_t()) CheckTensor(attribute.t());
  for (const auto& tensor : attribute.tensors()) CheckTensor(tensor);
  if (attribute.has_sparse_tensor()) CheckSparse(attribute.sparse_tensor());
  for (const auto& sparse : attribute.sparse_tensors()) CheckSparse(sparse);
}

void CheckDeclaration(const std::string& what, const onnx::ValueInfoProto& value) {
  Shape dims;
  for (const auto& dim : value.type().tensor_type().shape().dim()) {
    dims.push_back(dim.has_dim_value() ? std::max<int64_t>(-1, dim.dim_value()) : -1);
  }
  CheckDims(what + " '" + value.name() + "'", dims);
}

}  // namespace

void CheckProto(const onnx::ModelProto& model) {
  NeededInputs needed(model);
  ForEachGraph(model.graph(), [&](const onnx::GraphProto& graph) {
    for (const auto& tensor : graph.initializer()) CheckTensor(tensor);
    for (const auto& sparse : graph.sparse_initializer()) CheckSparse(sparse);
    for (const auto& node : graph.node()) {
      CheckNode(node, needed.Of(node));
      for (const auto& attribute : node.attribute()) CheckAttribute(attribute);
    }
    for (const auto& input : graph.input()) CheckDeclaration("input", input);
    for (const auto& output : graph.output()) CheckDeclaration("output", output);
    for (const auto& value : graph.value_info()) CheckDeclaration("value", value);
  });
}

}  // namespace ptq
