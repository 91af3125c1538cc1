// Numbers values and nodes, passes over Casts between floats, and joins scopes.
#include "flat_graph.h"

#include <memory>
#include <utility>

#include "slots.h"

#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/model/value_types.h"

namespace ptq {

std::string FlatNode::type() const {
  if (is_join()) return "";
  return proto->domain().empty() ? proto->op_type() : proto->domain() + "::" + proto->op_type();
}

int FlatGraph::Find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found != by_name_.end() ? found->second : -1;
}

const std::string& FlatGraph::StandardType(int node) const {
  static const std::string kNone;
  const onnx::NodeProto* const proto = nodes_[size_t(node)].proto;
  return proto != nullptr && proto->domain().empty() ? proto->op_type() : kNone;
}

/// One walk in the order of the nodes: a node's inputs are known when it is met.
class FlatBuilder {
 public:
  FlatBuilder(FlatGraph& flat, onnx::ModelProto& model, const ValueTypes& types)
      : flat_(flat), types_(types), slots_(model) {
    (void)Enter(*model.mutable_graph(), false);
    for (int i = 0; i < model.graph().output_size(); ++i) {
      onnx::ValueInfoProto& output = *model.mutable_graph()->mutable_output(i);
      Read(output.mutable_name(), -1, i);
    }
  }

  static void AddConstant(FlatGraph& flat, const onnx::TensorProto& tensor) {
    FlatValue value;
    value.name = tensor.name();
    value.type = DType(tensor.data_type());
    value.constant = &tensor;
    flat.by_name_[value.name] = int(flat.values_.size());
    flat.values_.push_back(std::move(value));
  }

 private:
  /// Where a name leads: behind a Cast between floats, to what it casts.
  int ValueOf(const std::string& name) {
    if (name.empty()) return -1;
    const auto [entry, added] = flat_.by_name_.try_emplace(name, int(flat_.values_.size()));
    if (added) {  // of a scope that is not there: nothing is known of it
      FlatValue& value = flat_.values_.emplace_back();
      value.name = name;
      value.type = types_.Of(name);
    }
    return entry->second;
  }

  int Read(std::string* name, int node, int input) {
    const int value = ValueOf(*name);
    if (value >= 0) {
      flat_.values_[size_t(value)].readers.push_back({node, input, name, types_.Of(*name)});
    }
    return value;
  }

  /// A node's place: its graph, and its position in there.
  struct Place {
    int scope = 0;
    int position = -1;
  };

  int Define(std::string* name, int node, int output, Place place) {
    if (name->empty()) return -1;
    const int id = ValueOf(*name);
    FlatValue& value = flat_.values_[size_t(id)];
    value.producer = node;
    value.output = output;
    value.defined = name;
    value.scope = place.scope;
    value.position = place.position;
    return id;
  }

  /// The graph's number.
  int Enter(onnx::GraphProto& graph, bool frozen) {
    const int scope = int(flat_.scopes_.size());
    flat_.scopes_.push_back(&graph);
    for (const auto& tensor : graph.initializer()) {
      AddConstant(flat_, tensor);
      flat_.values_.back().scope = scope;
    }
    if (scope == 0) {
      for (auto& input : *graph.mutable_input()) {
        const int id = ValueOf(input.name());
        FlatValue& value = flat_.values_[size_t(id)];
        value.graph_input = value.constant == nullptr;
      }
    }
    for (int i = 0; i < graph.node_size(); ++i) AddNode(*graph.mutable_node(i), scope, i, frozen);
    return scope;
  }

  void AddNode(onnx::NodeProto& proto, int scope, int position, bool frozen) {
    if (!frozen) HoldFloatsAsTensor(proto);
    if (const onnx::TensorProto* const constant = ConstantOf(proto); constant != nullptr) {
      FlatValue& value = flat_.values_[size_t(ValueOf(proto.output(0)))];
      value.constant = constant;
      value.holder = &proto;
      value.scope = scope;
      value.position = position;
      return;
    }
    if (!frozen && IsCastOfFloats(proto)) {
      const int from = ValueOf(proto.input(0));
      flat_.casts_.push_back({&proto, scope});
      flat_.by_name_[proto.output(0)] = from;
      return;
    }
    const bool control = !frozen && IsControl(proto);
    FlatNode node;
    node.proto = &proto;
    node.frozen = frozen;
    const int index = Append(std::move(node));
    for (int i = 0; i < proto.input_size(); ++i) {
      const bool joined = control && proto.op_type() != "If";
      const int value = joined ? ValueOf(proto.input(i)) : Read(proto.mutable_input(i), index, i);
      flat_.nodes_[size_t(index)].inputs.push_back(value);
    }
    if (control) return AddControl(index, {scope, position});
    ForEachSubgraph(proto, [&](onnx::GraphProto& inner) {
      (void)Enter(inner, true);
      for (auto& output : *inner.mutable_output()) Read(output.mutable_name(), index, -1);
    });
    for (int i = 0; i < proto.output_size(); ++i) {
      flat_.nodes_[size_t(index)].outputs.push_back(
          Define(proto.mutable_output(i), index, i, {scope, position}));
    }
    slots_.Fill(flat_.nodes_[size_t(index)], types_);
  }

  /// Whether it is known how the node's subgraphs and the graph around them meet.
  static bool IsControl(const onnx::NodeProto& proto) {
    if (!proto.domain().empty()) return false;
    if (proto.op_type() == "If") return true;
    if (proto.op_type() != "Loop" && proto.op_type() != "Scan") return false;
    const onnx::AttributeProto* const body = FindAttribute(proto, "body");
    return body != nullptr && body->g().input_size() == proto.input_size();
  }

  /// Floats that are attributes of a Constant become the tensor that they mean.
  static void HoldFloatsAsTensor(onnx::NodeProto& proto) {
    if (!proto.domain().empty() || proto.op_type() != "Constant") return;
    for (auto& attribute : *proto.mutable_attribute()) {
      const bool one = attribute.name() == "value_float";
      if (!one && attribute.name() != "value_floats") continue;
      onnx::TensorProto tensor;
      tensor.set_data_type(onnx::TensorProto::FLOAT);
      if (one) {
        tensor.add_float_data(attribute.f());
      } else {
        tensor.add_dims(attribute.floats_size());
        *tensor.mutable_float_data() = attribute.floats();
      }
      proto.clear_attribute();
      SetTensor(proto, "value", std::move(tensor));
      return;
    }
  }

  [[nodiscard]] bool IsCastOfFloats(const onnx::NodeProto& proto) const {
    if (!proto.domain().empty() || proto.output_size() == 0) return false;
    if (proto.op_type() != "Cast" && proto.op_type() != "CastLike") return false;
    return IsHalvable(types_.Of(proto.input(0))) && IsHalvable(types_.Of(proto.output(0)));
  }

  int Append(FlatNode node) {
    flat_.nodes_.push_back(std::move(node));
    return int(flat_.nodes_.size()) - 1;
  }

  /// A join is of values that have one type: those that are read there, and those that it makes.
  int StartJoin() { return Append(FlatNode()); }
  void JoinReads(int join, std::string* name) {
    FlatNode& node = flat_.nodes_[size_t(join)];
    node.input_slots.push_back(IsHalvable(types_.Of(*name)) ? Slot::kFollows : Slot::kOther);
    node.inputs.push_back(Read(name, join, int(node.inputs.size())));
  }
  void JoinMakes(int join, std::string* name, Place place) {
    FlatNode& node = flat_.nodes_[size_t(join)];
    node.output_slots.push_back(IsHalvable(types_.Of(*name)) ? Slot::kFollows : Slot::kOther);
    node.outputs.push_back(Define(name, join, int(node.outputs.size()), place));
  }

  void AddControl(int owner, Place place) {
    onnx::NodeProto& proto = *flat_.nodes_[size_t(owner)].proto;
    flat_.nodes_[size_t(owner)].input_slots.assign(size_t(proto.input_size()), Slot::kOther);
    if (proto.op_type() == "If") return AddBranches(proto, place);
    for (auto& attribute : *proto.mutable_attribute()) {
      if (attribute.has_g()) AddBody(owner, proto, *attribute.mutable_g(), place);
    }
  }

  void AddBranches(onnx::NodeProto& proto, Place place) {
    std::vector<onnx::GraphProto*> branches;
    ForEachSubgraph(proto, [&](onnx::GraphProto& branch) {
      (void)Enter(branch, false);
      branches.push_back(&branch);
    });
    for (int i = 0; i < proto.output_size(); ++i) {
      const int join = StartJoin();
      for (onnx::GraphProto* const branch : branches) {
        if (i < branch->output_size()) JoinReads(join, branch->mutable_output(i)->mutable_name());
      }
      JoinMakes(join, proto.mutable_output(i), place);
    }
  }

  /// Inputs of a body are those of the node, one by one; its outputs are those of the node, of a
  /// Loop behind the condition. Values that are carried from one iteration to the next are one.
  void AddBody(int owner, onnx::NodeProto& proto, onnx::GraphProto& body, Place place) {
    const bool loop = proto.op_type() == "Loop";
    const int skipped = loop ? 2 : 0;  // count and condition
    const int carried = loop ? body.input_size() - 2 : StatesOf(proto, body);
    const int inner = int(flat_.scopes_.size());
    std::vector<int> joins;
    for (int i = 0; i < body.input_size(); ++i) {
      const int join = StartJoin();
      joins.push_back(join);
      if (i < proto.input_size() && !proto.input(i).empty()) {
        JoinReads(join, proto.mutable_input(i));
      }
      JoinMakes(join, body.mutable_input(i)->mutable_name(), {inner, -1});
    }
    (void)Enter(body, false);
    const int first = loop ? 1 : 0;
    if (loop) Read(body.mutable_output(0)->mutable_name(), owner, -1);
    for (int i = 0; i + first < body.output_size(); ++i) {
      const int join = i < carried ? joins[size_t(i) + size_t(skipped)] : StartJoin();
      JoinReads(join, body.mutable_output(i + first)->mutable_name());
      if (i < proto.output_size()) JoinMakes(join, proto.mutable_output(i), place);
    }
  }

  /// Values that a Scan carries: what its body reads but for the scanned inputs.
  static int StatesOf(const onnx::NodeProto& proto, const onnx::GraphProto& body) {
    const onnx::AttributeProto* const scanned = FindAttribute(proto, "num_scan_inputs");
    return body.input_size() - (scanned != nullptr ? int(scanned->i()) : 0);
  }

  FlatGraph& flat_;
  const ValueTypes& types_;
  SlotReader slots_;
};

FlatGraph::FlatGraph(onnx::ModelProto& model,
                     std::span<const onnx::TensorProto* const> initializers,
                     std::span<const onnx::TensorProto* const> written) {
  std::unordered_map<std::string, DType> known;
  for (const auto& list : {initializers, written}) {
    for (const onnx::TensorProto* const tensor : list) {
      known[tensor->name()] = DType(tensor->data_type());
      FlatBuilder::AddConstant(*this, *tensor);
    }
  }
  for (const onnx::TensorProto* const tensor : written) {
    values_[size_t(Find(tensor->name()))].written = true;
  }
  const ValueTypes types(model, std::move(known));
  FlatBuilder(*this, model, types);
}

}  // namespace ptq
