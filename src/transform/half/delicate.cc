// Follows statistics forwards and positions backwards.
#include "delicate.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "operator_kinds.h"

namespace ptq {
namespace {

/// Operators that are an island of their own.
bool Normalizes(const std::string& type) {
  static const std::set<std::string> kTypes = {
      "LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization",
      "GroupNormalization", "InstanceNormalization",        "MeanVarianceNormalization",
      "LpNormalization"};
  return kTypes.contains(type);
}

/// A constant with at most one dimension: frequencies, slopes, scales, numbers.
bool IsVector(const FlatGraph& graph, int value) {
  const onnx::TensorProto* const tensor = graph.value(value).constant;
  return tensor != nullptr &&
         std::ranges::count_if(tensor->dims(), [](int64_t dim) { return dim != 1; }) <= 1;
}

class Statistics {
 public:
  explicit Statistics(Typing& typing)
      : typing_(typing),
        graph_(typing.graph()),
        is_one_(graph_.values().size(), false),
        is_normed_(graph_.values().size(), false) {}

  void Keep() {
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      const std::string& type = graph_.StandardType(i);
      if (Normalizes(type)) typing_.KeepFloat(i, IslandReason::kNorm);
      if (type == "Softmax" || type == "LogSoftmax") {
        typing_.KeepFloat(i, IslandReason::kSoftmax);
      }
      if (IsReduction(type)) {
        typing_.KeepFloat(i, IslandReason::kNorm);
        KeepSquare(graph_.node(i).inputs[0]);
        Mark(i, is_one_);
      } else if (Scales(i)) {
        typing_.KeepFloat(i, IslandReason::kNorm);
        Mark(i, is_normed_);
      } else {
        Follow(i);
      }
    }
  }

 private:
  void Mark(int node, std::vector<bool>& marks) const {
    for (const int value : graph_.node(node).outputs) {
      if (value >= 0) marks[size_t(value)] = true;
    }
  }

  /// The scale and the bias of a norm, one number a channel: every token passes through these few
  /// numbers, whose rounding is a large part of what the rounding of all weights costs.
  [[nodiscard]] bool Scales(int i) const {
    const std::string& type = graph_.StandardType(i);
    if (type != "Mul" && type != "Add") return false;
    const auto& inputs = graph_.node(i).inputs;
    const auto fits = [&](int normed, int vector) {
      return normed >= 0 && is_normed_[size_t(normed)] && vector >= 0 && IsVector(graph_, vector) &&
             graph_.value(vector).type == DType::kFloat32;
    };
    return fits(inputs[0], inputs[1]) || fits(inputs[1], inputs[0]);
  }

  /// Powers and products of a value by itself grow beyond FP16 long before their root does.
  void KeepSquare(int value) {
    const int producer = value < 0 ? -1 : graph_.value(value).producer;
    if (producer < 0) return;
    const FlatNode& node = graph_.node(producer);
    const std::string& type = graph_.StandardType(producer);
    const bool square = type == "Pow" || (type == "Mul" && node.inputs[0] == node.inputs[1]);
    if (square) typing_.KeepFloat(producer, IslandReason::kNorm);
  }

  /// A node that computes of statistics.
  void Follow(int i) {
    const FlatNode& node = graph_.node(i);
    const std::string& type = graph_.StandardType(i);
    if (!IsElementwise(type) && !MovesElements(type)) return;
    bool any = false, others = false;
    for (size_t input = 0; input < node.inputs.size(); ++input) {
      if (node.input_slots[input] == Slot::kOther || node.inputs[input] < 0) continue;
      if (graph_.value(node.inputs[input]).constant != nullptr) continue;
      const bool one = is_one_[size_t(node.inputs[input])];
      any = any || one;
      others = others || !one;
    }
    if (!any) return;
    typing_.KeepFloat(i, IslandReason::kNorm);
    Mark(i, others ? is_normed_ : is_one_);
  }

  Typing& typing_;
  const FlatGraph& graph_;
  std::vector<bool> is_one_;     ///< values that are statistics
  std::vector<bool> is_normed_;  ///< what they have met
};

/// Sums of the residual stream: a norm reads what goes past a block, and another what it becomes.
class Residuals {
 public:
  explicit Residuals(Typing& typing) : typing_(typing), graph_(typing.graph()) {}

  void Keep() {
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      if (!typing_.IsFloat(i) || typing_.reason(i) != IslandReason::kNorm) continue;
      for (const int value : graph_.node(i).inputs) normed_.insert(Origin(value));
    }
    normed_.erase(-1);
    for (const int value : normed_) KeepSum(value);
  }

 private:
  /// Behind operators that give the elements another shape alone.
  [[nodiscard]] int Origin(int value) const {
    static const std::set<std::string> kTypes = {"Flatten", "Identity",  "Reshape",
                                                 "Squeeze", "Transpose", "Unsqueeze"};
    while (value >= 0) {
      const int producer = graph_.value(value).producer;
      if (producer < 0 || !kTypes.contains(graph_.StandardType(producer))) break;
      value = graph_.node(producer).inputs[0];
    }
    return value;
  }

  void KeepSum(int value) {
    const int producer = graph_.value(value).producer;
    if (producer < 0 || graph_.StandardType(producer) != "Add") return;
    const auto& summands = graph_.node(producer).inputs;
    const auto is_constant = [&](int id) { return graph_.value(id).constant != nullptr; };
    if (std::ranges::any_of(summands, is_constant)) return;
    if (std::ranges::any_of(summands, [&](int id) { return normed_.contains(Origin(id)); })) {
      typing_.KeepFloat(producer, IslandReason::kResidual);
    }
  }

  Typing& typing_;
  const FlatGraph& graph_;
  std::set<int> normed_;  ///< values that norms read
};

class Positions {
 public:
  explicit Positions(Typing& typing)
      : typing_(typing), graph_(typing.graph()), is_one_(graph_.values().size(), true) {
    for (size_t id = 0; id < is_one_.size(); ++id) {
      const FlatValue& value = graph_.values()[id];
      if (!IsHalvable(value.type)) continue;
      if (value.constant != nullptr)
        is_one_[id] = IsVector(graph_, int(id));
      else if (value.producer < 0)
        is_one_[id] = false;
    }
    // What a body gives to its next iteration counts as one until it is known.
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      if (ComputesPosition(i)) continue;
      for (const int output : graph_.node(i).outputs) {
        if (output >= 0 && IsHalvable(graph_.value(output).type)) is_one_[size_t(output)] = false;
      }
    }
  }

  void Keep() {
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      const std::string& type = graph_.StandardType(i);
      const FlatNode& node = graph_.node(i);
      if (type == "Sin" || type == "Cos") {
        typing_.KeepFloat(i, IslandReason::kAngles);
        if (IsPosition(node.inputs[0])) KeepBehind(node.inputs[0], IslandReason::kAngles);
      } else if (BecomesInteger(type)) {
        for (size_t input = 0; input < node.inputs.size(); ++input) {
          const bool floats = node.input_slots[input] != Slot::kOther && node.inputs[input] >= 0;
          if (!floats || !IsPosition(node.inputs[input])) continue;
          KeepBehind(node.inputs[input], IslandReason::kIndices);
          typing_.KeepFloat(i, IslandReason::kIndices);
        }
      }
    }
  }

 private:
  static bool BecomesInteger(const std::string& type) {
    static const std::set<std::string> kTypes = {
        "Cast",           "Ceil", "Equal",       "Floor", "Greater",
        "GreaterOrEqual", "Less", "LessOrEqual", "Mod",   "Round"};
    return kTypes.contains(type);
  }

  /// Whether it is computed of integers, and of constants that are no weights, alone.
  [[nodiscard]] bool IsPosition(int value) const { return value < 0 || is_one_[size_t(value)]; }

  [[nodiscard]] bool ComputesPosition(int i) const {
    const FlatNode& node = graph_.node(i);
    const std::string& type = graph_.StandardType(i);
    const bool followed = node.is_join() || IsElementwise(type) || MovesElements(type) ||
                          type == "Range" || type == "Sin" || type == "Cos" || type == "MatMul" ||
                          type == "Einsum" || type == "CumSum";
    return followed &&
           std::ranges::all_of(node.inputs, [&](int input) { return IsPosition(input); });
  }

  void KeepBehind(int value, IslandReason reason) {
    std::vector<int> next = {value};
    while (!next.empty()) {
      const int id = next.back();
      next.pop_back();
      if (id < 0 || !IsHalvable(graph_.value(id).type)) continue;
      const int producer = graph_.value(id).producer;
      if (producer < 0 || !typing_.KeepFloat(producer, reason)) continue;
      const auto& inputs = graph_.node(producer).inputs;
      next.insert(next.end(), inputs.begin(), inputs.end());
    }
  }

  Typing& typing_;
  const FlatGraph& graph_;
  std::vector<bool> is_one_;  ///< values that are computed of positions alone
};

}  // namespace

void KeepStatistics(Typing& typing) { Statistics(typing).Keep(); }

void KeepResiduals(Typing& typing) { Residuals(typing).Keep(); }

void KeepPositions(Typing& typing) { Positions(typing).Keep(); }

}  // namespace ptq
