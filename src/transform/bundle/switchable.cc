// Finds what keeps two models from being one, and brings them to one version of the operators.
#include <algorithm>
#include <map>
#include <string>

#include "bundle/constant_nodes.h"
#include "opset_rules.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/model/operator_schemas.h"
#include "ptq/transform/opset_upgrade.h"
#include "ptq/transform/switched_model.h"

namespace ptq {
namespace {

/// Whether an operator may mean something else in a later opset. Up to 21 the upgrade's rules know;
/// above, what has a new version counts as changed.
bool MayChange(const std::string& op_type, int64_t from, int64_t to) {
  const int64_t stable = StableSince(op_type);
  if (from < kUpgradedOpset && (stable < 0 || from < stable)) return true;
  if (to <= kUpgradedOpset) return false;
  const auto before = FindSchema("", op_type, std::max(from, kUpgradedOpset));
  const auto behind = FindSchema("", op_type, to);
  return !before || !behind || before->since != behind->since;
}

/// The first node whose operator may be another one in opset `to`; null: none.
const onnx::NodeProto* FirstChanged(const onnx::ModelProto& model, int64_t to) {
  const int64_t from = OpsetOf(model, "");
  const onnx::NodeProto* found = nullptr;
  ForEachNode(model.graph().node(), [&](const onnx::NodeProto& node) {
    if (found != nullptr || !node.domain().empty()) return;
    if (MayChange(node.op_type(), from, to)) found = &node;
  });
  return found;
}

void RaiseTo(onnx::ModelProto& model, int64_t to) {
  if (OpsetOf(model, "") >= to) return;
  if (FirstChanged(model, to) != nullptr && OpsetOf(model, "") < kUpgradedOpset &&
      to >= kUpgradedOpset) {
    UpgradeOpset(model, "the other model of the bundle");
  }
  if (const onnx::NodeProto* const node = FirstChanged(model, to)) {
    throw UnsupportedError("the node '" + node->name() + "' (" + node->op_type() + ") of opset " +
                           std::to_string(OpsetOf(model, "")) +
                           " may mean something else in opset " + std::to_string(to) +
                           ", which the other model has; export both models with one opset, or "
                           "keep them apart with --as files");
  }
  RaiseOpset(model, "", to);
}

using Declared = std::map<std::string, const onnx::ValueInfoProto*>;

Declared ByName(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& infos) {
  Declared named;
  for (const auto& info : infos) named[info.name()] = &info;
  return named;
}

/// Whether a caller can use one in the other's place: of one kind, type and rank, and no size that
/// both fix and differ in.
bool Alike(const onnx::ValueInfoProto& a, const onnx::ValueInfoProto& b) {
  if (!a.has_type() || !b.has_type()) return true;
  if (a.type().value_case() != b.type().value_case()) return false;
  if (!a.type().has_tensor_type()) {
    return a.type().SerializeAsString() == b.type().SerializeAsString();
  }
  const auto& x = a.type().tensor_type();
  const auto& y = b.type().tensor_type();
  if (x.elem_type() != y.elem_type()) return false;
  if (!x.has_shape() || !y.has_shape()) return true;
  if (x.shape().dim_size() != y.shape().dim_size()) return false;
  for (int i = 0; i < x.shape().dim_size(); ++i) {
    const auto& m = x.shape().dim(i);
    const auto& n = y.shape().dim(i);
    if (m.has_dim_value() && n.has_dim_value() && m.dim_value() != n.dim_value()) return false;
  }
  return true;
}

void CheckAlike(const Declared& first, const Declared& second, const std::string& what) {
  for (const auto& [name, info] : first) {
    const auto other = second.find(name);
    if (other == second.end()) {
      throw UnsupportedError("the " + what + " '" + name +
                             "' of the first model is none of the second; a bundle needs two "
                             "forms of one model");
    }
    if (!Alike(*info, *other->second)) {
      throw UnsupportedError("the " + what + " '" + name +
                             "' has another type or shape in the second model; a bundle needs "
                             "two forms of one model, with inputs and outputs of the same types");
    }
  }
  for (const auto& [name, info] : second) {
    if (first.contains(name)) continue;
    throw UnsupportedError("the " + what + " '" + name +
                           "' of the second model is none of the first; a bundle needs two forms "
                           "of one model");
  }
}

void CheckOutputs(const GraphIndex& graph) {
  for (const std::string& name : graph.outputs) {
    if (graph.ProducerOf(name) >= 0) continue;
    throw UnsupportedError("the output '" + name +
                           "' is an input or a constant, which no branch can give; keep the "
                           "models apart with --as files");
  }
}

void CheckFunctions(const onnx::ModelProto& first, const onnx::ModelProto& second) {
  for (const auto& a : first.functions()) {
    for (const auto& b : second.functions()) {
      if (a.domain() != b.domain() || a.name() != b.name()) continue;
      if (a.SerializeAsString() == b.SerializeAsString()) continue;
      throw UnsupportedError("the function '" + a.domain() + ":" + a.name() +
                             "' has another body in the second model; keep the models apart with "
                             "--as files");
    }
  }
}

}  // namespace

void UnifyVersions(onnx::ModelProto& first, onnx::ModelProto& second) {
  const int64_t opset = std::max(OpsetOf(first, ""), OpsetOf(second, ""));
  RaiseTo(first, opset);
  RaiseTo(second, opset);
  constexpr int64_t kIrWithDefaults = 4;  // below, every initializer is listed among the inputs
  for (onnx::ModelProto* model : {&first, &second}) {
    if (model->ir_version() >= kIrWithDefaults) continue;
    const GraphIndex graph(model->graph());
    auto& inputs = *model->mutable_graph()->mutable_input();
    for (int i = inputs.size() - 1; i >= 0; --i) {
      if (graph.initializers.contains(inputs.Get(i).name())) inputs.DeleteSubrange(i, 1);
    }
  }
  const int64_t ir = std::max({first.ir_version(), second.ir_version(), kIrWithDefaults});
  first.set_ir_version(ir);
  second.set_ir_version(ir);
}

void DropUnsharedDefaults(onnx::ModelProto& first, onnx::ModelProto& second,
                          const std::unordered_map<std::string, std::string>& equal) {
  const GraphIndex a(first.graph()), b(second.graph());
  const auto drop = [&](onnx::ModelProto& model, const GraphIndex& own, const GraphIndex& other) {
    auto& inputs = *model.mutable_graph()->mutable_input();
    for (int i = inputs.size() - 1; i >= 0; --i) {
      const std::string& name = inputs.Get(i).name();
      const auto found = equal.find(name);
      const bool shared =
          found != equal.end() && found->second == name && other.inputs.contains(name);
      if (own.initializers.contains(name) && !shared) inputs.DeleteSubrange(i, 1);
    }
  };
  drop(first, a, b);
  drop(second, b, a);
}

void CheckSwitchable(const onnx::ModelProto& first, const onnx::ModelProto& second,
                     const std::string& input) {
  CheckAlike(ByName(first.graph().input()), ByName(second.graph().input()), "input");
  CheckAlike(ByName(first.graph().output()), ByName(second.graph().output()), "output");
  const GraphIndex a(first.graph()), b(second.graph());
  CheckOutputs(a);
  CheckOutputs(b);
  CheckFunctions(first, second);
  for (const auto* model : {&first, &second}) {
    if (!NamesIn(model->graph()).contains(input)) continue;
    throw UsageError("the name '" + input +
                     "' is taken in the model; choose another with --input NAME");
  }
}

}  // namespace ptq
