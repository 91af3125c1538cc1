// Tells whether a part of a graph computes a mixture of experts, by running it on known numbers.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Operators between the products of a mixture: they move elements, choose experts, and multiply
/// with weights of experts. None of them treats a range of values in a way of its own, so that a
/// few random ones stand for all.
[[nodiscard]] bool IsMixtureGlue(const Node& node);

/// The steps of a graph from an activation and the router's logits on, with other weights.
class MixtureProbe {
 public:
  /// `mixture` has its members, logits and numbers of experts; `root` is the activation that all
  /// of it starts from. All of these outlive the probe.
  MixtureProbe(const ExecutionPlan& execution, const std::vector<Linear>& linears,
               const Mixture& mixture, ValueId root);

  /// Fills in rows, output and whether weights are normalized: the first of `outputs` that is what
  /// a mixture computes, and the first of `rows` that are its tokens. Nothing when there is none.
  [[nodiscard]] std::optional<Mixture> Complete(const std::vector<ValueId>& rows,
                                                const std::vector<ValueId>& outputs);

 private:
  /// Random tokens and logits, so that all experts are chosen by some token unless there is one
  /// token only.
  void Begin(int64_t tokens, bool has_batch);
  /// The value, when it depends on nothing but what is known and glue.
  [[nodiscard]] std::optional<Tensor> Find(ValueId id);
  [[nodiscard]] bool Collect(ValueId goal, std::set<int>& nodes) const;
  void RunNode(int node);
  void RunProduct(const Linear& linear, const ExpertPlace& place);
  [[nodiscard]] std::vector<float> Expected(bool normalizes) const;
  [[nodiscard]] bool IsTokens(const std::optional<Tensor>& value,
                              const std::vector<float>& expected) const;

  const ExecutionPlan& execution_;
  const Graph& graph_;
  const std::vector<Linear>& linears_;
  const Mixture& mixture_;
  const ValueId root_;
  const int64_t width_;
  int64_t inner_ = 0;
  double tolerance_ = 0;
  std::map<int, std::pair<int, ExpertPlace>> products_;  ///< members, by node
  int64_t tokens_ = 0;
  std::vector<float> x_, logits_;
  std::map<ValueId, Tensor> known_;
};

}  // namespace ptq
