// What quantizing a segment gives.
#pragma once

#include <memory>
#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {

struct QuantizedLinear {
  int linear = 0;  ///< index into Plan::linears
  std::shared_ptr<const QuantizedMatrix> q;
  std::vector<float> bias;  ///< [N] to be added to its outputs; empty: none
};

struct ScaledSite {
  Site site;  ///< with the fold that is really used
  std::vector<float> scale;
};

struct SegmentResult {
  std::vector<ScaledSite> scaled;
  std::vector<QuantizedLinear> linears;
  /// The constants that make the original graph compute what the quantized one does,
  /// Q(W·diag(s))·diag(s)⁻¹, by the operands that they stand for.
  DeferredWeights operands;
  ValueEdits edits;  ///< and what to change about its values
};

}  // namespace ptq
