// The full decision before any heavy work: every linear, what happens to it, and why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/quant/spec.h"
#include "ptq/runtime/execution_plan.h"

namespace ptq {

class NamePattern;

/// What happens to a linear.
enum class Decision {
  kQuantize,  ///< codes and scales are written
  kHalf,      ///< the weight is stored as FP16 (the LM head by default)
  kKeep,      ///< nothing changes
};

/// A product of constants by the weight of a linear, such as DeBERTa's relative positions. It reads
/// the codes, too, so that the floats need not stay.
struct ConstantProduct {
  int node = 0;
  ValueId operand = kNoValue;  ///< the constant that stands for the weight there
  bool operand_is_nk = false;
  ValueId bias = kNoValue;
};

/// How one weight product looks in the graph, seen as W[N, K].
struct Linear {
  std::string name;            ///< as people know it: model.layers.0.self_attn.q_proj
  std::string node_name;       ///< of the file's node; may be empty
  int node = 0;                ///< index into Graph::nodes()
  ValueId site = kNoValue;     ///< the activation [..., K]
  ValueId operand = kNoValue;  ///< the constant that the node reads
  ValueId stored = kNoValue;   ///< the initializer or Constant behind the operand
  ValueId part = kNoValue;     ///< the value with this weight's elements alone: `stored`, or the
                               ///< part of it that the graph takes
  int gather = -1;             ///< node that picks matrices of a stack for each token, or -1
  int64_t experts = 1;         ///< matrices in that stack, one above the other in W
  ValueId bias = kNoValue;     ///< constant [N] inside the node (Gemm's C)
  Use bias_add{-1, -1};        ///< else, the constant [N] that an Add behind it adds; node -1: none
  int64_t n = 0;
  int64_t k = 0;
  bool operand_is_nk = false;            ///< the operand has the layout [N, K] (a stack: [experts,
                                         ///< N / experts, K]); otherwise the last two swapped
  DType operand_type = DType::kFloat32;  ///< type of the activations, too
  DType stored_type = DType::kFloat32;
  bool is_head = false;  ///< feeds the model's logits and nothing else
  bool shared = false;   ///< the stored weight has other users, too (tied, or used twice)
  std::vector<ConstantProduct> constant_products;  ///< some of these users
  Decision decision = Decision::kQuantize;
  std::string reason;  ///< why it is not quantized, or why its site is not scaled
  QuantSpec spec;      ///< of the result, when quantized
};

/// Where 1/s of a scaled site goes.
struct Fold {
  enum class Kind {
    kMul,         ///< a Mul in front of the site's linears
    kGain,        ///< into constants [K] of the producer (norm gain and bias)
    kLinearRows,  ///< into the rows of the linear that produces the site
  };
  Kind kind = Kind::kMul;
  std::vector<Use> gains;  ///< kGain: which input of which node holds each constant
  int linear = -1;         ///< kLinearRows: index into Plan::linears
  Use bias{-1, -1};        ///< kLinearRows: an Add's constant to divide, too; node -1: none
  std::vector<int64_t> row_of_channel;  ///< kLinearRows: row of that linear for each channel k
};

/// An activation and the quantized linears that it feeds.
struct Site {
  ValueId value = kNoValue;
  std::vector<int> linears;  ///< indices into Plan::linears
  size_t segment = 0;        ///< where its linears run
  bool scaling_allowed = true;
  std::string scaling_note;  ///< why not
  Fold fold;
};

struct Plan {
  std::vector<Linear> linears;  ///< in graph order
  std::vector<Site> sites;      ///< in graph order; only those with a quantized linear
};

/// What the user asked for the LM head.
enum class HeadForm { kHalf, kInt8, kInt4, kKeep };

struct PlanOptions {
  QuantSpec spec;
  HeadForm head = HeadForm::kHalf;
  /// Globs, or regular expressions between slashes (/re/), over names of linears and of nodes.
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  bool patterns_must_match = true;  ///< a pattern that matches nothing is an error
};

/// Finds every linear and decides. Throws UsageError for a pattern of `exclude` or `include` that
/// matches nothing, UnsupportedError when the model holds no linear at all.
[[nodiscard]] Plan MakePlan(const ExecutionPlan& execution, const PlanOptions& options);

/// Whether a pattern matches the linear's name, or that of its node.
[[nodiscard]] bool Matches(const NamePattern& pattern, const Linear& linear);

/// "quantize", "fp16", "keep".
[[nodiscard]] std::string DecisionName(Decision decision);

}  // namespace ptq
