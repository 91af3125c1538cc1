// Makes the nodes from the operators' schemas.
#include "operator_models.h"

#include <algorithm>
#include <set>

#include "support/model_builder.h"

#include "ptq/model/operator_schemas.h"
#include "ptq/ops/kernel.h"

namespace ptq::fuzz {
namespace {

constexpr int64_t kOpset = 21;

DType TypeIn(uint32_t mask) {
  for (const DType type :
       {DType::kFloat32, DType::kInt64, DType::kBool, DType::kUint8, DType::kInt32, DType::kInt8}) {
    if ((mask >> unsigned(type) & 1U) != 0) return type;
  }
  return DType::kFloat32;
}

void AddAttributes(const OperatorSchema& schema, testing::GraphBuilder& b) {
  for (const SchemaAttribute& attribute : schema.attributes) {
    if (!attribute.required) continue;
    const std::string name(attribute.name);
    if (attribute.type == 'i') b.Int(name, 1);
    if (attribute.type == 'I') b.Ints(name, {1, 1});
    if (attribute.type == 's') {
      testing::AddAttribute(b.last(), name, onnx::AttributeProto::STRING).set_s("ij,jk->ik");
    }
  }
}

std::string ModelOf(const KernelEntry& entry, const OperatorSchema& schema) {
  testing::GraphBuilder b(kOpset);
  b.Import("com.microsoft", 1);
  std::vector<std::string> names;
  const size_t count =
      std::max<size_t>(size_t(schema.least_inputs), std::min<size_t>(schema.inputs.size(), 3));
  for (size_t i = 0; i < count; ++i) {
    const auto& parameter = schema.inputs[std::min(i, schema.inputs.size() - 1)];
    const DType type = TypeIn(parameter.mask);
    names.push_back("x" + std::to_string(i));
    if (type == DType::kInt64 && i > 0) {
      b.Weight(names.back(), Tensor::From<int64_t>({2}, {1, 1}));
    } else {
      b.Input(names.back(), {2, 4, 4}, type);
    }
  }
  b.Op(std::string(entry.op_type), names, "y").Domain(std::string(entry.domain));
  for (size_t i = 1; i < schema.outputs.size(); ++i) b.last().add_output("y" + std::to_string(i));
  AddAttributes(schema, b);
  b.Output("y", {});
  return b.Bytes();
}

}  // namespace

std::vector<std::string> OperatorModels() {
  std::vector<std::string> models;
  std::set<std::string_view> seen;
  for (const KernelEntry& entry : KernelEntries()) {
    const auto schema = FindSchema(entry.domain, entry.op_type, kOpset);
    if (!schema.has_value() || schema->inputs.empty() || !seen.insert(entry.op_type).second)
      continue;
    models.push_back(ModelOf(entry, *schema));
  }
  return models;
}

}  // namespace ptq::fuzz
