// Converts a whole graph to FP16, but for the islands where that is impossible or delicate.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ptq/transform/transform.h"

namespace ptq {

/// Why a node computes in FP32.
enum class IslandReason {
  kAsked,       ///< the user wants it as it is
  kUnknown,     ///< of an operator that this build does not know
  kImpossible,  ///< the operator takes or makes no FP16
  kLarge,       ///< a value of it has been seen beyond kLargestSeen
  kConstant,    ///< it reads a constant that FP16 cannot hold, or holds as 0
  kNorm,        ///< normalizes, or computes the statistics for that
  kResidual,    ///< adds what a block gives to what goes past it, for norms to read
  kSoftmax,
  kAngles,   ///< sine and cosine, and what computes their argument
  kIndices,  ///< what is computed of positions and becomes integers again
  kScales,   ///< quantizes or dequantizes by FP32 scales
  kBetween,  ///< between such nodes, where it needs fewer Casts than FP16 would
};
/// "norm", "softmax" …
[[nodiscard]] std::string_view IslandName(IslandReason reason);

/// A value that was seen beyond this stays FP32, and so does what makes and reads it: half of what
/// FP16 holds, for inputs that are unlike the samples.
inline constexpr float kLargestSeen = 0x1p15f;

/// A node that computes in FP32.
struct Island {
  std::string node;   ///< its name, or "<type> of '<first output>'"
  std::string value;  ///< its first output
  IslandReason reason;
};

/// What a conversion makes of a graph.
struct HalfDecisions {
  std::vector<Island> islands;  ///< in the order of the graph
  /// Constants of floats by name, why they stay as they are; empty for those that become FP16.
  std::map<std::string, std::string> constants;
  std::vector<std::string> clamped;        ///< constants whose elements come down to ±65504
  std::unordered_set<std::string> halved;  ///< values that are FP16 then, constants aside
};

/// What would become of a plan's model, whose linears may get codes. Reads every constant. Throws
/// what WeightReader throws.
[[nodiscard]] HalfDecisions PlanHalfGraph(const Graph& source, const Plan& plan);

/// Values of a graph that are FP16, constants aside.
[[nodiscard]] std::vector<ValueId> HalfValues(const Graph& graph);

/// Converts the output's graph where the plan says so: one Cast for each value that is known in one
/// type and read in the other.
class HalfGraph : public Transform {
 public:
  HalfGraph(OutputGraph& graph, const TransformRequest& request)
      : graph_(graph), plan_(request.plan) {}

  [[nodiscard]] std::string_view name() const override { return "half graph"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kCommitted; }
  [[nodiscard]] std::string Plan() const override;
  void Apply() override;

 private:
  OutputGraph& graph_;
  const ptq::Plan* plan_;
  bool applied_ = false;
};

}  // namespace ptq
