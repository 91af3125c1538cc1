// Keeps a slot for each node of the source, edits the slots, and sorts what is still read.
#include "ptq/transform/graph_editor.h"

#include <algorithm>
#include <optional>

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

/// Tells the nodes of a scope apart: by their first outputs; those that give nothing out by what
/// they are and read, and a number when there are several.
class NodeKeys {
 public:
  [[nodiscard]] std::string KeyOf(const onnx::NodeProto& node) {
    for (const std::string& name : node.output()) {
      if (!name.empty()) return name;
    }
    std::string key = '\n' + node.name() + '\n' + node.op_type();
    for (const std::string& name : node.input()) key += '\n' + name;
    const int number = ++seen_[key];
    return key + '\n' + std::to_string(number);
  }

 private:
  std::unordered_map<std::string, int> seen_;
};

}  // namespace

GraphEditor::GraphEditor(const Graph& source, onnx::GraphProto& target)
    : source_(source), target_(target), front_(source.scopes().size()) {
  slot_of_node_.resize(source.nodes().size());
  std::vector<std::vector<int>> nodes(source.scopes().size());
  for (size_t i = 0; i < source.nodes().size(); ++i) {
    nodes[size_t(source.ScopeOf(int(i)))].push_back(int(i));
  }
  for (size_t scope = 0; scope < nodes.size(); ++scope) TakeNodes(int(scope), nodes[scope]);
  for (const Value& value : source.values()) {
    if (value.uses.empty() && !value.graph_output) unused_before_.insert(value.name);
  }
}

/// The slots of a scope's nodes. A scope comes behind its parent, whose nodes have slots then.
void GraphEditor::TakeNodes(int scope, const std::vector<int>& nodes) {
  onnx::GraphProto& graph = GraphOf(scope);
  std::unordered_map<std::string, size_t> slot_of_node;
  NodeKeys of_target;
  for (auto& node : *graph.mutable_node()) {
    slot_of_node[of_target.KeyOf(node)] = slots_.size();
    Slot& slot = slots_.emplace_back();
    slot.nodes.push_back(std::move(node));
    slot.scope = scope;
  }
  graph.clear_node();
  NodeKeys of_source;
  for (const int index : nodes) {
    const Node& node = source_.nodes()[size_t(index)];
    const auto found = slot_of_node.find(of_source.KeyOf(node.proto()));
    if (found == slot_of_node.end()) {
      throw InternalError("node '" + node.name() + "' is missing in the copy of the graph");
    }
    slot_of_node_[size_t(index)] = found->second;
  }
}

/// Where a scope's nodes belong: the target, or an attribute of the scope's owner.
onnx::GraphProto& GraphEditor::GraphOf(int scope) {
  const Scope& of_source = source_.scope(scope);
  if (of_source.owner < 0) return target_;
  for (auto& attribute : *SlotOf(of_source.owner).nodes.front().mutable_attribute()) {
    if (attribute.name() == of_source.attribute) return *attribute.mutable_g();
  }
  throw InternalError("a subgraph is missing in the copy of the graph");
}

std::string GraphEditor::InputOf(int node, int input) const {
  const auto found = rewired_.find({node, input});
  if (found != rewired_.end()) return found->second;
  const auto& slot = slots_[slot_of_node_[size_t(node)]];
  if (!slot.replaced && input < slot.nodes.front().input_size()) {
    return slot.nodes.front().input(input);
  }
  return source_.nodes()[size_t(node)].input(input);
}

void GraphEditor::SetInput(int node, int input, const std::string& name) {
  const std::string before = InputOf(node, input);
  Slot& slot = SlotOf(node);
  slot.edited = true;
  if (!slot.replaced) {
    slot.nodes.front().set_input(input, name);
  } else {
    for (auto& replacement : slot.nodes) {
      for (auto& read : *replacement.mutable_input()) {
        if (read == before) read = name;
      }
    }
  }
  rewired_[{node, input}] = name;
}

void GraphEditor::RenameOutput(int node, int output, const std::string& name) {
  Slot& slot = SlotOf(node);
  if (slot.replaced) throw InternalError("output of a replaced node cannot be renamed");
  slot.nodes.front().set_output(output, name);
  slot.edited = true;
}

void GraphEditor::Replace(int node, std::vector<onnx::NodeProto> nodes) {
  Slot& slot = SlotOf(node);
  slot.nodes = std::move(nodes);
  slot.replaced = slot.edited = true;
}

void GraphEditor::SetAttribute(int node, const std::string& name, int64_t value) {
  for (onnx::NodeProto& heir : SlotOf(node).nodes) {
    for (onnx::AttributeProto& attribute : *heir.mutable_attribute()) {
      if (attribute.name() == name) attribute.set_i(value);
    }
  }
}

void GraphEditor::InsertBehind(ValueId value, onnx::NodeProto node) {
  const int producer = source_.value(value).producer;
  const auto scope = size_t(source_.value(value).scope);
  (producer < 0 ? front_[scope] : SlotOf(producer).behind).push_back(std::move(node));
}

void GraphEditor::RestoreUntouched(const std::vector<SpelledOut>& forms) {
  for (const SpelledOut& form : forms) {
    std::vector<Slot*> slots;
    for (const std::string& output : form.outputs) {
      const ValueId id = source_.Find(output);
      slots.push_back(&SlotOf(source_.value(id).producer));
    }
    if (std::ranges::any_of(slots, [](const Slot* slot) { return slot->edited; })) continue;
    for (Slot* slot : slots) slot->nodes.clear();
    slots.back()->nodes.push_back(form.original);
  }
}

void GraphEditor::FindLive(std::vector<Placed>& live, std::unordered_set<std::string>& needed) {
  std::vector<Placed> all;
  for (size_t scope = 0; scope < front_.size(); ++scope) {
    for (auto& node : front_[scope]) all.push_back({&node, int(scope)});
  }
  for (auto& slot : slots_) {
    for (auto& node : slot.nodes) all.push_back({&node, slot.scope});
    for (auto& node : slot.behind) all.push_back({&node, slot.scope});
  }
  // A subgraph whose nodes are taken out reads what it gives out.
  std::vector<const onnx::NodeProto*> nodes;
  nodes.reserve(all.size());
  for (const Placed& placed : all) nodes.push_back(placed.node);
  const auto order = TopologicalOrder(nodes);
  if (!order.has_value()) throw InternalError("the edited graph has a cycle");
  for (const auto& output : target_.output()) needed.insert(output.name());
  for (auto next = order->rbegin(); next != order->rend(); ++next) {
    const Placed& placed = all[size_t(*next)];
    const auto& outputs = placed.node->output();
    const bool read = std::ranges::any_of(
        outputs, [&](const std::string& name) { return needed.contains(name); });
    // What nobody read in the source either was there for a reason we do not know; it stays.
    const bool never_read = std::ranges::all_of(outputs, [&](const std::string& name) {
      return name.empty() || unused_before_.contains(name);
    });
    if (!read && !never_read) continue;
    live.push_back(placed);
    for (std::string& name : NamesRead(*placed.node)) needed.insert(std::move(name));
  }
  std::reverse(live.begin(), live.end());
}

std::unordered_set<std::string> GraphEditor::NeededNames() {
  std::vector<Placed> live;
  std::unordered_set<std::string> needed;
  FindLive(live, needed);
  return needed;
}

void GraphEditor::Commit() {
  std::vector<Placed> live;
  std::unordered_set<std::string> needed;
  FindLive(live, needed);
  std::vector<std::vector<onnx::NodeProto*>> by_scope(front_.size());
  for (const Placed& placed : live) by_scope[size_t(placed.scope)].push_back(placed.node);
  // Inner scopes first, as long as their owners are where GraphOf finds them.
  for (size_t scope = by_scope.size(); scope-- > 0;) {
    onnx::GraphProto& graph = GraphOf(int(scope));
    for (onnx::NodeProto* node : by_scope[scope]) *graph.add_node() = std::move(*node);
  }
  slots_.clear();
  front_.clear();
}

}  // namespace ptq
