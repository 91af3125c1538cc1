// Reads an operator's schema: a type parameter that may be FLOAT16 follows what the node computes
// in.
#include "slots.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

constexpr uint32_t kHalfBit = 1U << unsigned(DType::kFloat16);

const SchemaParameter* ParameterAt(const std::vector<SchemaParameter>& parameters, size_t index) {
  if (index < parameters.size()) return &parameters[index];
  return !parameters.empty() && parameters.back().repeats ? &parameters.back() : nullptr;
}

/// Inputs that stay FP32: sizes and places, of which FP16 would make others.
bool StaysFloat(const onnx::NodeProto& proto, size_t input) {
  if (!proto.domain().empty()) return false;
  if (proto.op_type() == "Resize") return input == 1 || input == 2;
  return proto.op_type() == "Upsample" && input == 1;
}

/// Operators that read floats, or make them, where their type is of no importance.
bool IsCast(const onnx::NodeProto& proto) {
  return proto.domain().empty() && (proto.op_type() == "Cast" || proto.op_type() == "CastLike");
}

Slot SlotFor(const SchemaParameter* parameter, DType type) {
  if (!IsHalvable(type)) return Slot::kOther;
  const bool can = parameter != nullptr && (parameter->mask & kHalfBit) != 0;
  return can ? Slot::kFollows : Slot::kFixed;
}

/// Floats that reach what is no tensor (a sequence) cannot change their type alone.
bool HasOthers(const std::vector<SchemaParameter>& parameters, const std::vector<int>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const SchemaParameter* const parameter = ParameterAt(parameters, i);
    if (values[i] >= 0 && parameter != nullptr && parameter->mask == 0) return true;
  }
  return false;
}

/// What makes no floats and reads one value of them takes any type.
void ReadAnyType(FlatNode& node) {
  const auto floats = [](const std::vector<Slot>& slots) {
    return std::ranges::count_if(slots, [](Slot slot) { return slot != Slot::kOther; });
  };
  if (floats(node.output_slots) > 0 || floats(node.input_slots) != 1) return;
  std::ranges::replace(node.input_slots, Slot::kFollows, Slot::kAny);
}

}  // namespace

SlotReader::SlotReader(const onnx::ModelProto& model) {
  for (const auto& import : model.opset_import()) opsets_[import.domain()] = import.version();
}

const OperatorSchema* SlotReader::SchemaOf(const onnx::NodeProto& proto) {
  const auto [entry, added] = schemas_.try_emplace(proto.domain() + '\n' + proto.op_type());
  if (added) {
    entry->second = FindSchema(proto.domain(), proto.op_type(), opsets_[proto.domain()]);
  }
  return entry->second.has_value() ? &*entry->second : nullptr;
}

void SlotReader::Fill(FlatNode& node, const ValueTypes& types) {
  const onnx::NodeProto& proto = *node.proto;
  const OperatorSchema* const schema = node.frozen ? nullptr : SchemaOf(proto);
  node.known = schema != nullptr;
  static const std::vector<SchemaParameter> kNone;
  const auto& inputs = schema != nullptr ? schema->inputs : kNone;
  const auto& outputs = schema != nullptr ? schema->outputs : kNone;
  const bool identity = proto.domain().empty() && proto.op_type() == "Identity" && !node.frozen;
  const bool fixed =
      !identity && (HasOthers(inputs, node.inputs) || HasOthers(outputs, node.outputs));
  const auto slot_of = [&](const SchemaParameter* parameter, const std::string& name) {
    const DType type = types.Of(name);
    if (identity) return IsHalvable(type) ? Slot::kFollows : Slot::kOther;
    const Slot slot = SlotFor(parameter, type);
    return slot == Slot::kFollows && fixed ? Slot::kFixed : slot;
  };
  for (int i = 0; i < proto.input_size(); ++i) {
    const Slot slot = slot_of(ParameterAt(inputs, size_t(i)), proto.input(i));
    const bool stays = slot == Slot::kFollows && StaysFloat(proto, size_t(i));
    node.input_slots.push_back(stays ? Slot::kFixed : slot);
  }
  for (int i = 0; i < proto.output_size(); ++i) {
    node.output_slots.push_back(slot_of(ParameterAt(outputs, size_t(i)), proto.output(i)));
  }
  if (IsCast(proto) && !node.frozen) {
    std::ranges::replace(node.input_slots, Slot::kFollows, Slot::kAny);
  } else {
    ReadAnyType(node);
  }
}

}  // namespace ptq
