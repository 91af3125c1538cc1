// Finds for each node of the second graph one of the first with the same operator and inputs.
#include "bundle/match_nodes.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "bundle/rename.h"

namespace ptq {
namespace {

/// NodeProto.metadata_props, which onnx.proto has had since IR version 10.
constexpr int kMetadataPropsField = 9;

class NodeMatcher {
 public:
  NodeMatcher(const TypedGraph& first, const TypedGraph& second, bool only_constant)
      : first_(first), second_(second), only_constant_(only_constant) {
    pairs_.of_first.assign(size_t(first.index.graph.node_size()), -1);
    pairs_.of_second.assign(size_t(second.index.graph.node_size()), -1);
  }

  NodePairs Match(const std::unordered_map<std::string, std::string>& equal) {
    for (const std::string& name : second_.index.inputs) {
      if (first_.index.inputs.contains(name)) Pair(name, name);
    }
    for (const auto& [name, of_first] : equal) Pair(of_first, name);
    if (!only_constant_) {
      for (const std::string& name : second_.index.outputs) Pair(name, name);
      PairByName();
    }
    for (int i = 0; i < first_.index.graph.node_size(); ++i) {
      if (Considered(first_.index, i)) by_key_[KeyOf(first_.index.graph.node(i), {})].push_back(i);
    }
    for (int i = 0; i < second_.index.graph.node_size(); ++i) {
      if (!Considered(second_.index, i)) continue;
      const int partner = PartnerOf(i);
      if (partner >= 0) PairNodes(partner, i);
    }
    return std::move(pairs_);
  }

 private:
  bool Considered(const GraphIndex& graph, int node) const {
    return !only_constant_ || graph.constant.contains(node);
  }

  void Pair(const std::string& of_first, const std::string& of_second) {
    if (!paired_.insert(of_first).second) return;
    if (!pairs_.values.emplace(of_second, of_first).second) paired_.erase(of_first);
  }

  /// Values that nodes of both graphs make, not out of constants alone, in one type; where nobody
  /// knows the types, by one operator.
  void PairByName() {
    for (const auto& [name, node] : second_.index.producers) {
      const int other = first_.index.ProducerOf(name);
      if (other < 0 || first_.index.constant.contains(other)) continue;
      if (second_.index.constant.contains(node)) continue;
      const DType type = first_.types.Of(name);
      if (type != second_.types.Of(name)) continue;
      const onnx::NodeProto& a = first_.index.graph.node(other);
      const onnx::NodeProto& b = second_.index.graph.node(node);
      const bool one_operator = a.op_type() == b.op_type() && a.domain() == b.domain();
      if (type != DType::kUndefined || one_operator) Pair(name, name);
    }
  }

  /// What a node computes, in the first graph's names: everything but its name and its outputs'.
  static std::string KeyOf(const onnx::NodeProto& node,
                           const std::unordered_map<std::string, std::string>& names) {
    onnx::NodeProto copy = node;
    copy.clear_name();
    copy.clear_doc_string();
    copy.GetReflection()->MutableUnknownFields(&copy)->DeleteByNumber(kMetadataPropsField);
    for (auto& output : *copy.mutable_output()) output.clear();
    RenameValues(copy, names);
    auto& attributes = *copy.mutable_attribute();
    std::sort(attributes.begin(), attributes.end(),
              [](const auto& a, const auto& b) { return a.name() < b.name(); });
    for (auto& attribute : attributes) {
      attribute.clear_doc_string();
      if (attribute.has_t()) attribute.mutable_t()->clear_name();
    }
    return copy.SerializeAsString();
  }

  int PartnerOf(int node) const {
    for (const std::string& name : second_.index.reads[size_t(node)]) {
      if (!pairs_.values.contains(name)) return -1;
    }
    const auto found = by_key_.find(KeyOf(second_.index.graph.node(node), pairs_.values));
    if (found == by_key_.end()) return -1;
    int any = -1;
    for (const int candidate : found->second) {
      const auto fit = Fit(candidate, node);
      if (fit == OutputFit::kSame) return candidate;
      if (fit == OutputFit::kFree && any < 0) any = candidate;
    }
    return any;
  }

  enum class OutputFit { kNone, kFree, kSame };

  /// Whether the outputs are paired with each other, or may be.
  OutputFit Fit(int of_first, int of_second) const {
    if (pairs_.of_first[size_t(of_first)] >= 0) return OutputFit::kNone;
    const auto& a = first_.index.graph.node(of_first).output();
    const auto& b = second_.index.graph.node(of_second).output();
    bool same = true;
    for (int i = 0; i < a.size(); ++i) {
      if (a.Get(i).empty() != b.Get(i).empty()) return OutputFit::kNone;
      if (a.Get(i).empty()) continue;
      const auto paired = pairs_.values.find(b.Get(i));
      const bool each_other = paired != pairs_.values.end() && paired->second == a.Get(i);
      same = same && (each_other || a.Get(i) == b.Get(i));
      if (each_other) continue;
      if (paired != pairs_.values.end() || paired_.contains(a.Get(i))) return OutputFit::kNone;
      // The names and the order of outputs are the caller's.
      const bool given =
          first_.index.outputs.contains(a.Get(i)) || second_.index.outputs.contains(b.Get(i));
      if (given && a.Get(i) != b.Get(i)) return OutputFit::kNone;
    }
    return same ? OutputFit::kSame : OutputFit::kFree;
  }

  void PairNodes(int of_first, int of_second) {
    pairs_.of_first[size_t(of_first)] = of_second;
    pairs_.of_second[size_t(of_second)] = of_first;
    const auto& a = first_.index.graph.node(of_first).output();
    const auto& b = second_.index.graph.node(of_second).output();
    for (int i = 0; i < a.size(); ++i) {
      if (!a.Get(i).empty() && !pairs_.values.contains(b.Get(i))) Pair(a.Get(i), b.Get(i));
    }
  }

  const TypedGraph& first_;
  const TypedGraph& second_;
  bool only_constant_;
  NodePairs pairs_;
  std::unordered_set<std::string> paired_;  ///< values of the first graph
  std::unordered_map<std::string, std::vector<int>> by_key_;
};

}  // namespace

NodePairs MatchNodes(const TypedGraph& first, const TypedGraph& second,
                     const std::unordered_map<std::string, std::string>& equal,
                     bool only_constant) {
  return NodeMatcher(first, second, only_constant).Match(equal);
}

}  // namespace ptq
