// Collects what is left of two graphs when their common nodes are taken out into regions.
#include "ptq/transform/align_models.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "bundle/match_nodes.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

/// Disjoint sets of numbers.
class UnionFind {
 public:
  explicit UnionFind(size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int Find(int i) {
    while (parent_[size_t(i)] != i) i = parent_[size_t(i)] = parent_[size_t(parent_[size_t(i)])];
    return i;
  }
  void Join(int a, int b) { parent_[size_t(Find(a))] = Find(b); }

 private:
  std::vector<int> parent_;
};

/// Number of the strongly connected component of each vertex (Kosaraju's algorithm).
std::vector<int> ComponentsOf(const std::vector<std::set<int>>& successors) {
  const size_t size = successors.size();
  std::vector<std::vector<int>> predecessors(size);
  for (size_t from = 0; from < size; ++from) {
    for (const int to : successors[from]) predecessors[size_t(to)].push_back(int(from));
  }
  std::vector<int> finished;
  std::vector<bool> seen(size, false);
  for (size_t root = 0; root < size; ++root) {
    if (seen[root]) continue;
    seen[root] = true;
    std::vector<std::pair<int, std::set<int>::const_iterator>> path;
    path.emplace_back(int(root), successors[root].begin());
    while (!path.empty()) {
      const int at = path.back().first;
      if (path.back().second == successors[size_t(at)].end()) {
        finished.push_back(at);
        path.pop_back();
        continue;
      }
      const int next = *path.back().second++;
      if (seen[size_t(next)]) continue;
      seen[size_t(next)] = true;
      path.emplace_back(next, successors[size_t(next)].begin());
    }
  }
  std::vector<int> component(size, -1);
  int count = 0;
  for (auto root = finished.rbegin(); root != finished.rend(); ++root) {
    if (component[size_t(*root)] >= 0) continue;
    std::vector<int> open = {*root};
    component[size_t(*root)] = count;
    while (!open.empty()) {
      const int at = open.back();
      open.pop_back();
      for (const int before : predecessors[size_t(at)]) {
        if (component[size_t(before)] >= 0) continue;
        component[size_t(before)] = count;
        open.push_back(before);
      }
    }
    ++count;
  }
  return component;
}

/// The nodes of both graphs that are no constant ones, one behind the other; a common one counts in
/// the first graph, and its partner with it.
class RegionFinder {
 public:
  RegionFinder(const GraphIndex& first, const GraphIndex& second, const NodePairs& pairs)
      : graphs_{&first, &second},
        pairs_(pairs),
        count_(first.graph.node_size()),
        sets_(size_t(count_ + second.graph.node_size())) {
    for (const auto& [of_second, of_first] : pairs.values) inverse_[of_first] = of_second;
  }

  std::vector<SwitchedRegion> Find() {
    JoinNeighbours();
    JoinFollowers();
    JoinSwitchedValues();
    JoinCycles();
    return Collect();
  }
  /// Whether a common node has become part of a region.
  bool Swallowed(int of_first) { return region_of_.contains(sets_.Find(of_first)); }

 private:
  int Number(int side, int node) const {
    if (side == 0) return node;
    const int partner = pairs_.of_second[size_t(node)];
    return partner >= 0 ? partner : count_ + node;
  }
  bool Common(int side, int node) const {
    return (side == 0 ? pairs_.of_first : pairs_.of_second)[size_t(node)] >= 0;
  }
  /// Calls visit(producer, consumer, value) for each edge between nodes that are not constant.
  template <class Visitor>
  void ForEachEdge(int side, const Visitor& visit) const {
    const GraphIndex& graph = *graphs_[size_t(side)];
    for (int node = 0; node < graph.graph.node_size(); ++node) {
      if (graph.constant.contains(node)) continue;
      for (const std::string& name : graph.reads[size_t(node)]) {
        const int producer = graph.ProducerOf(name);
        if (producer >= 0 && !graph.constant.contains(producer)) visit(producer, node, name);
      }
    }
  }

  void JoinNeighbours() {
    for (int side = 0; side < 2; ++side) {
      ForEachEdge(side, [&](int producer, int consumer, const std::string&) {
        if (Common(side, producer) || Common(side, consumer)) return;
        sets_.Join(Number(side, producer), Number(side, consumer));
      });
    }
  }

  /// Runtimes fuse a product with the bias and the activation behind it, so these go into the
  /// branch with it where nothing else reads the product.
  void JoinFollowers() {
    const std::array<std::map<std::string, int>, 2> readers = {ReadersOf(0), ReadersOf(1)};
    std::set<int> followers;
    for (int node = 0; node < count_; ++node) {
      if (!Common(0, node) || graphs_[0]->constant.contains(node)) continue;
      const std::string* const value = OnlyVariableInput(node);
      if (value == nullptr || graphs_[0]->outputs.contains(*value)) continue;
      const int producer = graphs_[0]->ProducerOf(*value);
      const bool switched = producer >= 0 && (!Common(0, producer) || followers.contains(producer));
      if (!switched || readers[0].at(*value) > 1 || readers[1].at(inverse_.at(*value)) > 1)
        continue;
      followers.insert(node);
      sets_.Join(node, producer);
    }
  }

  /// How many nodes read each value.
  std::map<std::string, int> ReadersOf(size_t side) const {
    std::map<std::string, int> readers;
    for (const auto& reads : graphs_[side]->reads) {
      for (const std::string& name : std::set<std::string>(reads.begin(), reads.end())) {
        ++readers[name];
      }
    }
    return readers;
  }

  /// What a bias or an activation is of; null for other nodes.
  const std::string* OnlyVariableInput(int node) const {
    static const std::set<std::string> kFollowers = {"Add",      "Relu",      "LeakyRelu",
                                                     "Sigmoid",  "Tanh",      "Gelu",
                                                     "FastGelu", "QuickGelu", "HardSwish"};
    const GraphIndex& graph = *graphs_[0];
    if (!kFollowers.contains(graph.graph.node(node).op_type())) return nullptr;
    const std::string* found = nullptr;
    for (const std::string& name : graph.reads[size_t(node)]) {
      if (graph.initializers.contains(name) || graph.constant.contains(graph.ProducerOf(name))) {
        continue;
      }
      if (found != nullptr) return nullptr;
      found = &name;
    }
    return found;
  }

  /// What a common node, or the caller, takes from a region, both models' nodes must give.
  void JoinSwitchedValues() {
    const auto join = [&](const std::string& name) {
      const int a = graphs_[0]->ProducerOf(name);
      const auto of_second = inverse_.find(name);
      if (a < 0 || of_second == inverse_.end() || Common(0, a)) return;
      const int b = graphs_[1]->ProducerOf(of_second->second);
      if (b >= 0) sets_.Join(Number(0, a), Number(1, b));
    };
    ForEachEdge(0, [&](int producer, int consumer, const std::string& name) {
      if (!Common(0, producer) && Common(0, consumer)) join(name);
    });
    for (const std::string& name : graphs_[0]->outputs) join(name);
  }

  void JoinCycles() {
    std::vector<std::set<int>> successors(size_t(count_ + graphs_[1]->graph.node_size()));
    for (int side = 0; side < 2; ++side) {
      ForEachEdge(side, [&](int producer, int consumer, const std::string&) {
        const int from = sets_.Find(Number(side, producer));
        const int to = sets_.Find(Number(side, consumer));
        if (from != to) successors[size_t(from)].insert(to);
      });
    }
    const std::vector<int> component = ComponentsOf(successors);
    std::map<int, int> first_of;
    for (size_t i = 0; i < component.size(); ++i) {
      const auto [entry, added] = first_of.try_emplace(component[i], int(i));
      if (!added) sets_.Join(int(i), entry->second);
    }
  }

  std::vector<SwitchedRegion> Collect() {
    FindRegions();
    std::vector<SwitchedRegion> regions(region_of_.size());
    for (int side = 0; side < 2; ++side) {
      const GraphIndex& graph = *graphs_[size_t(side)];
      for (int node = 0; node < graph.graph.node_size(); ++node) {
        if (graph.constant.contains(node)) continue;
        const auto found = region_of_.find(sets_.Find(Number(side, node)));
        if (found != region_of_.end()) {
          regions[found->second].nodes[size_t(side)].push_back(node);
        }
      }
    }
    AddOutputs(regions);
    std::erase_if(regions, [](const SwitchedRegion& region) { return region.outputs.empty(); });
    return regions;
  }

  /// A set is a region when it has a node that is not common, or more than one.
  void FindRegions() {
    std::map<int, int> members;
    std::set<int> found;
    for (int side = 0; side < 2; ++side) {
      const GraphIndex& graph = *graphs_[size_t(side)];
      for (int node = 0; node < graph.graph.node_size(); ++node) {
        if (graph.constant.contains(node) || (side == 1 && Common(1, node))) continue;
        const int set = sets_.Find(Number(side, node));
        if (!Common(side, node) || ++members[set] > 1) found.insert(set);
      }
    }
    for (const int set : found) region_of_.emplace(set, region_of_.size());
  }

  void AddOutputs(std::vector<SwitchedRegion>& regions) {
    std::set<std::string> added;
    const auto add = [&](const std::string& name, int producer) {
      const auto found = region_of_.find(sets_.Find(producer));
      if (found == region_of_.end() || !added.insert(name).second) return;
      regions[found->second].outputs.push_back(name);
    };
    ForEachEdge(0, [&](int producer, int consumer, const std::string& name) {
      const int set = sets_.Find(producer);
      // Another region reads it in its first branch; its second one does not need it.
      if (set != sets_.Find(consumer)) add(name, producer);
    });
    ForEachEdge(1, [&](int producer, int consumer, const std::string& name) {
      if (sets_.Find(Number(1, producer)) == sets_.Find(Number(1, consumer))) return;
      const std::string& of_first = pairs_.values.at(name);
      add(of_first, graphs_[0]->ProducerOf(of_first));
    });
    for (const auto& output : graphs_[0]->graph.output()) {
      const int producer = graphs_[0]->ProducerOf(output.name());
      if (producer >= 0) add(output.name(), producer);
    }
  }

  std::array<const GraphIndex*, 2> graphs_;
  const NodePairs& pairs_;
  int count_;
  UnionFind sets_;
  std::unordered_map<std::string, std::string> inverse_;
  std::unordered_map<int, size_t> region_of_;  ///< by set
};

/// The two graphs as one region.
std::vector<SwitchedRegion> OneRegion(const GraphIndex& first, const GraphIndex& second) {
  SwitchedRegion region;
  for (const auto& output : first.graph.output()) region.outputs.push_back(output.name());
  const std::array<const GraphIndex*, 2> graphs = {&first, &second};
  for (size_t side = 0; side < 2; ++side) {
    for (int node = 0; node < graphs[side]->graph.node_size(); ++node) {
      if (!graphs[side]->constant.contains(node)) region.nodes[side].push_back(node);
    }
  }
  return {std::move(region)};
}

}  // namespace

Alignment AlignModels(const onnx::ModelProto& first, const onnx::ModelProto& second,
                      const std::unordered_map<std::string, std::string>& equal, SwitchForm form) {
  const TypedGraph a(first), b(second);
  const NodePairs pairs = MatchNodes(a, b, equal, form == SwitchForm::kWhole);
  Alignment alignment;
  alignment.constant = {a.index.constant, b.index.constant};
  alignment.outside = {a.index.outside, b.index.outside};
  RegionFinder finder(a.index, b.index, pairs);
  alignment.regions = form == SwitchForm::kWhole ? OneRegion(a.index, b.index) : finder.Find();
  for (int node = 0; node < int(pairs.of_first.size()); ++node) {
    const int partner = pairs.of_first[size_t(node)];
    if (partner < 0) continue;
    if (!a.index.constant.contains(node) && finder.Swallowed(node)) continue;
    alignment.common.emplace_back(node, partner);
    for (int i = 0; i < first.graph().node(node).output_size(); ++i) {
      alignment.names[second.graph().node(partner).output(i)] = first.graph().node(node).output(i);
    }
  }
  for (const auto& [of_second, of_first] : pairs.values) {
    if (a.index.ProducerOf(of_first) < 0) alignment.names[of_second] = of_first;
    for (const SwitchedRegion& region : alignment.regions) {
      if (std::ranges::find(region.outputs, of_first) != region.outputs.end()) {
        alignment.names[of_second] = of_first;
      }
    }
  }
  for (const SwitchedRegion& region : alignment.regions) {
    for (const std::string& name : region.outputs) alignment.names.try_emplace(name, name);
  }
  alignment.names.erase("");
  return alignment;
}

void SortNodes(onnx::GraphProto& graph) {
  std::vector<const onnx::NodeProto*> nodes;
  for (const auto& node : graph.node()) nodes.push_back(&node);
  const auto order = TopologicalOrder(nodes);
  if (!order.has_value()) throw InputError("the graph's nodes depend on each other in a circle");
  google::protobuf::RepeatedPtrField<onnx::NodeProto> sorted;
  for (const int i : *order) *sorted.Add() = *nodes[size_t(i)];
  graph.mutable_node()->Swap(&sorted);
}

}  // namespace ptq
