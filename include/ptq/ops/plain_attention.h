// Attention that a graph spells out in plain operators, run as one.
#pragma once

#include <memory>
#include <vector>

#include "ptq/ops/kernel.h"

namespace ptq {

/// One step from the product of queries and keys to the softmax. `operand` and `fill` are inputs of
/// the whole.
struct ScoreStep {
  enum class Kind { kMul, kDiv, kAdd, kWhere };
  Kind kind;
  int operand;    ///< factor, divisor, bias, or condition of Where(condition, scores, fill)
  int fill = -1;  ///< of kWhere
};

/// softmax(steps(q kᵀ)) v, its tensors by input number.
struct PlainAttention {
  int q = 0;                 ///< [.., T, D]
  int k = 0;                 ///< [.., D, S], or [.., S, D] when `keys_by_row`
  int v = 0;                 ///< [.., S, E]
  bool keys_by_row = false;  ///< the transposition of the keys is part of it
  std::vector<ScoreStep> steps;
  int64_t softmax_axis = -1;
  bool half_probabilities = false;  ///< cast to binary16 after the softmax
  bool guarded = false;             ///< rows that are not numbers become zeros
};

/// One operator of the graph that the whole stands for. Slot i < inputs is input i of the whole,
/// slot inputs + i the output of part i; -1 an absent optional.
struct AttentionPart {
  const Node* node;
  std::vector<int> inputs;
};

/// A kernel with `inputs` inputs and one output, that of the last part. It never holds all scores,
/// and leaves out keys whose bias makes their probability exactly zero (half of them under a causal
/// mask). Shapes and operands that it cannot take are run part by part.
[[nodiscard]] std::unique_ptr<Kernel> MakePlainAttention(PlainAttention attention, size_t inputs,
                                                         const std::vector<AttentionPart>& parts);

}  // namespace ptq
