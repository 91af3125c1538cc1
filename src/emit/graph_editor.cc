#include "graph_editor.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "ptq/base/error.h"

namespace ptq {
namespace {

std::string FirstOutput(const onnx::NodeProto& node) {
  for (const std::string& name : node.output()) {
    if (!name.empty()) return name;
  }
  return "";
}

/// Everything that a node reads: its inputs and what its subgraphs capture.
std::vector<std::string> NamesRead(const onnx::NodeProto& node) {
  std::vector<std::string> names;
  for (const std::string& name : node.input()) {
    if (!name.empty()) names.push_back(name);
  }
  for (const auto& attribute : node.attribute()) {
    if (!attribute.has_g()) continue;
    for (std::string& name : FreeNames(attribute.g())) names.push_back(std::move(name));
  }
  return names;
}

/// Kahn's algorithm; of the ready nodes always the one that stood first.
std::vector<onnx::NodeProto*> Sorted(const std::vector<onnx::NodeProto*>& nodes) {
  std::unordered_map<std::string, size_t> producer;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& name : nodes[i]->output()) {
      if (!name.empty()) producer[name] = i;
    }
  }
  std::vector<size_t> waits(nodes.size(), 0);
  std::vector<std::vector<size_t>> blocks(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& name : NamesRead(*nodes[i])) {
      const auto found = producer.find(name);
      if (found == producer.end()) continue;
      blocks[found->second].push_back(i);
      ++waits[i];
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (waits[i] == 0) ready.push(i);
  }
  std::vector<onnx::NodeProto*> sorted;
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    sorted.push_back(nodes[i]);
    for (const size_t next : blocks[i]) {
      if (--waits[next] == 0) ready.push(next);
    }
  }
  if (sorted.size() != nodes.size()) throw InternalError("the edited graph has a cycle");
  return sorted;
}

}  // namespace

GraphEditor::GraphEditor(const Graph& source, onnx::GraphProto& target)
    : source_(source), target_(target) {
  std::unordered_map<std::string, size_t> slot_of_output;
  for (auto& node : *target.mutable_node()) {
    slot_of_output[FirstOutput(node)] = slots_.size();
    slots_.emplace_back().nodes.push_back(std::move(node));
  }
  target.clear_node();
  for (const Node& node : source.nodes()) {
    const auto found = slot_of_output.find(FirstOutput(node.proto()));
    if (found == slot_of_output.end()) {
      throw InternalError("node '" + node.name() + "' is missing in the copy of the graph");
    }
    slot_of_node_.push_back(found->second);
  }
  for (const Value& value : source.values()) {
    if (value.uses.empty() && !value.graph_output) unused_before_.insert(value.name);
  }
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

void GraphEditor::InsertBehind(ValueId value, onnx::NodeProto node) {
  const int producer = source_.value(value).producer;
  (producer < 0 ? front_ : SlotOf(producer).behind).push_back(std::move(node));
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

void GraphEditor::FindLive(std::vector<onnx::NodeProto*>& live,
                           std::unordered_set<std::string>& needed) {
  std::vector<onnx::NodeProto*> all;
  for (auto& node : front_) all.push_back(&node);
  for (auto& slot : slots_) {
    for (auto& node : slot.nodes) all.push_back(&node);
    for (auto& node : slot.behind) all.push_back(&node);
  }
  all = Sorted(all);
  for (const auto& output : target_.output()) needed.insert(output.name());
  for (auto node = all.rbegin(); node != all.rend(); ++node) {
    const auto& outputs = (*node)->output();
    const bool read = std::ranges::any_of(
        outputs, [&](const std::string& name) { return needed.contains(name); });
    // What nobody read in the source either was there for a reason we do not know; it stays.
    const bool never_read = std::ranges::all_of(outputs, [&](const std::string& name) {
      return name.empty() || unused_before_.contains(name);
    });
    if (!read && !never_read) continue;
    live.push_back(*node);
    for (std::string& name : NamesRead(**node)) needed.insert(std::move(name));
  }
  std::reverse(live.begin(), live.end());
}

std::unordered_set<std::string> GraphEditor::NeededNames() {
  std::vector<onnx::NodeProto*> live;
  std::unordered_set<std::string> needed;
  FindLive(live, needed);
  return needed;
}

void GraphEditor::Commit() {
  std::vector<onnx::NodeProto*> live;
  std::unordered_set<std::string> needed;
  FindLive(live, needed);
  for (onnx::NodeProto* node : live) *target_.add_node() = std::move(*node);
  slots_.clear();
  front_.clear();
}

}  // namespace ptq
