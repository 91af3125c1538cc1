// Collects what each rule keeps, and then lets an island grow where that takes Casts away.
#include "islands.h"

#include <algorithm>
#include <deque>
#include <set>
#include <string_view>

#include "delicate.h"
#include "operator_kinds.h"

namespace ptq {
namespace {

class IslandFinder {
 public:
  IslandFinder(Typing& typing, ConstantReader& constants)
      : typing_(typing), graph_(typing.graph()), constants_(constants) {}

  void KeepMade(const std::set<std::string>& names) {
    for (const std::string& name : names) {
      const int value = graph_.Find(name);
      if (value >= 0 && graph_.value(value).producer >= 0) {
        typing_.KeepFloat(graph_.value(value).producer, IslandReason::kAsked);
      }
    }
  }

  void KeepImpossible() {
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      const std::string& type = graph_.StandardType(i);
      if (type.starts_with("Random") || type == "Bernoulli" || type == "Multinomial") {
        typing_.KeepFloat(i, IslandReason::kImpossible);
      }
      if (type == "QuantizeLinear" || type == "DequantizeLinear") KeepScales(i);
    }
  }

  /// What makes a large value and what reads it. Masks are no values of that kind.
  void KeepLarge(const std::set<std::string>& names, const std::set<int>& masks) {
    const std::vector<bool> masked = Masked(masks);
    for (const std::string& name : names) {
      const int value = graph_.Find(name);
      if (value < 0 || masked[size_t(value)] || graph_.value(value).name != name) continue;
      const FlatValue& flat = graph_.value(value);
      if (flat.producer >= 0) typing_.KeepFloat(flat.producer, IslandReason::kLarge);
      for (const FlatReader& reader : flat.readers) {
        if (reader.node >= 0) typing_.KeepFloat(reader.node, IslandReason::kLarge);
      }
    }
  }

  /// Readers of what FP16 cannot hold, but for masks, which are returned.
  std::set<int> KeepConstants() {
    std::set<int> masks;
    for (int id = 0; id < std::ssize(graph_.values()); ++id) {
      const FlatValue& value = graph_.value(id);
      if (value.constant == nullptr || value.written || !IsHalvable(value.type)) continue;
      const bool read = std::ranges::any_of(value.readers, [&](const FlatReader& reader) {
        return typing_.Wanted(reader) == DType::kFloat16;
      });
      if (read) KeepReaders(id, masks);
    }
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      if (graph_.StandardType(i) == "ConstantOfShape") KeepFill(i, masks);
    }
    return masks;
  }

  /// Nodes that only compute element by element, or move elements, change over where that needs
  /// fewer Casts; what makes floats of integers also where it needs as many.
  void Grow() {
    std::deque<int> next;
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) next.push_back(i);
    while (!next.empty()) {
      const int node = next.front();
      next.pop_front();
      if (typing_.IsFloat(node) || !IsLight(node)) continue;
      const int before = CastsAround(node);
      if (!typing_.KeepFloat(node, IslandReason::kBetween)) continue;
      const int after = CastsAround(node);
      const bool source = IsSource(node);
      const bool worth = after < before || (source && after == before && before > 0);
      if (!worth) {
        typing_.Release(node);
        continue;
      }
      AddNeighbours(node, next);
    }
  }

 private:
  static inline const std::set<std::string_view> kProducts = {"MatMul", "Gemm",          "Conv",
                                                              "Mul",    "ConvTranspose", "Einsum"};

  void KeepScales(int i) {
    const FlatNode& node = graph_.node(i);
    const int scale = node.inputs.size() > 1 ? node.inputs[1] : -1;
    if (scale >= 0 && graph_.value(scale).type != DType::kFloat16) {
      typing_.KeepFloat(i, IslandReason::kScales);
    }
  }

  void KeepReaders(int id, std::set<int>& masks) {
    const FlatValue& value = graph_.value(id);
    const ConstantFacts& facts = constants_.Of(*value.constant);
    if (facts.overflows()) {
      if (facts.elements > 0 && IsMask(id)) {
        masks.insert(id);
        return;
      }
      for (const FlatReader& reader : value.readers) Keep(reader, IslandReason::kConstant);
    }
    if (!facts.is_tiny() && !facts.underflows()) return;
    for (const FlatReader& reader : value.readers) {
      if (reader.node < 0) continue;
      const std::string& type = graph_.StandardType(reader.node);
      const bool alone = facts.is_tiny() && (IsElementwise(type) || type == "Where");
      // A sum does not miss what is so small; a product is as small.
      if (alone || (facts.underflows() && kProducts.contains(type))) {
        Keep(reader, IslandReason::kConstant);
      }
    }
  }

  void Keep(const FlatReader& reader, IslandReason reason) {
    if (reader.node >= 0) typing_.KeepFloat(reader.node, reason);
  }

  /// The number that a ConstantOfShape repeats.
  void KeepFill(int i, std::set<int>& masks) {
    if (typing_.IsFloat(i)) return;
    const FlatNode& node = graph_.node(i);
    for (const auto& attribute : node.proto->attribute()) {
      if (attribute.name() != "value" || !IsHalvable(DType(attribute.t().data_type()))) continue;
      const ConstantFacts& facts = constants_.Of(attribute.t());
      if (facts.overflows() && IsMask(node.outputs[0])) {
        masks.insert(node.outputs[0]);
      } else if (facts.overflows() || facts.is_tiny()) {
        typing_.KeepFloat(i, IslandReason::kConstant);
      }
    }
  }

  /// Whether everything that is made of a value ends where only its being very large counts.
  bool IsMask(int value) {
    std::vector<int> next = {value};
    std::set<int> seen = {value};
    bool ends = false;
    while (!next.empty()) {
      const int id = next.back();
      next.pop_back();
      for (const FlatReader& reader : graph_.value(id).readers) {
        if (reader.node < 0) return false;
        if (!IsHalvable(reader.type)) continue;
        if (EndsMaskAt(reader)) {
          ends = true;
          continue;
        }
        if (!CarriesMask(reader.node)) return false;
        for (const int output : graph_.node(reader.node).outputs) {
          if (output >= 0 && seen.insert(output).second) next.push_back(output);
        }
      }
    }
    return ends;
  }

  [[nodiscard]] bool EndsMaskAt(const FlatReader& reader) const {
    const std::string& type = graph_.StandardType(reader.node);
    if (EndsMask(type)) return true;
    const FlatNode& node = graph_.node(reader.node);
    // Bounds: nothing in FP16 is beyond its range.
    if (type == "Clip") return reader.input > 0;
    return !node.is_join() && node.proto->domain() == "com.microsoft" &&
           node.proto->op_type().find("Attention") != std::string::npos;
  }

  [[nodiscard]] bool CarriesMask(int i) const {
    const std::string& type = graph_.StandardType(i);
    return graph_.node(i).is_join() || IsElementwise(type) || MovesElements(type);
  }

  /// Values that masks are part of, up to where they end.
  [[nodiscard]] std::vector<bool> Masked(const std::set<int>& masks) const {
    std::vector<bool> masked(graph_.values().size(), false);
    std::vector<int> next(masks.begin(), masks.end());
    for (const int id : next) masked[size_t(id)] = true;
    while (!next.empty()) {
      const int id = next.back();
      next.pop_back();
      for (const FlatReader& reader : graph_.value(id).readers) {
        if (reader.node < 0 || EndsMaskAt(reader) || !CarriesMask(reader.node)) continue;
        for (const int output : graph_.node(reader.node).outputs) {
          if (output < 0 || masked[size_t(output)]) continue;
          masked[size_t(output)] = true;
          next.push_back(output);
        }
      }
    }
    return masked;
  }

  [[nodiscard]] bool IsLight(int i) const {
    const FlatNode& node = graph_.node(i);
    if (node.is_join()) return true;
    const std::string& type = graph_.StandardType(i);
    if (type == "Gather") {  // of a table: its rows are many
      return node.inputs[0] < 0 || graph_.value(node.inputs[0]).constant == nullptr;
    }
    return IsElementwise(type) || MovesElements(type);
  }

  /// Makes floats of what is none.
  [[nodiscard]] bool IsSource(int i) const {
    const std::string& type = graph_.StandardType(i);
    return type == "Cast" || type == "CastLike" || type == "ConstantOfShape" || type == "EyeLike";
  }

  [[nodiscard]] int CastsAround(int i) const {
    const FlatNode& node = graph_.node(i);
    std::set<int> around(node.inputs.begin(), node.inputs.end());
    around.insert(node.outputs.begin(), node.outputs.end());
    around.erase(-1);
    int casts = 0;
    for (const int value : around) casts += typing_.Casts(value);
    return casts;
  }

  void AddNeighbours(int i, std::deque<int>& next) const {
    const FlatNode& node = graph_.node(i);
    for (const int value : node.inputs) {
      if (value >= 0 && graph_.value(value).producer >= 0) {
        next.push_back(graph_.value(value).producer);
      }
    }
    for (const int value : node.outputs) {
      if (value < 0) continue;
      for (const FlatReader& reader : graph_.value(value).readers) {
        if (reader.node >= 0) next.push_back(reader.node);
      }
    }
  }

  Typing& typing_;
  const FlatGraph& graph_;
  ConstantReader& constants_;
};

}  // namespace

std::set<int> FindIslands(Typing& typing, ConstantReader& constants, const HalfLimits& limits) {
  IslandFinder finder(typing, constants);
  finder.KeepMade(limits.kept);
  finder.KeepImpossible();
  KeepPositions(typing);
  KeepStatistics(typing);
  KeepResiduals(typing);
  std::set<int> masks = finder.KeepConstants();
  finder.KeepLarge(limits.large, masks);
  finder.Grow();
  return masks;
}

}  // namespace ptq
