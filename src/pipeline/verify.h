// Checks the written model against what the executor expects of it.
#pragma once

#include <filesystem>
#include <optional>

#include "ptq/pipeline/run.h"
#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/text/batching.h"

namespace ptq {

/// Carries one sample through the original graph with the quantized weights in place, segment by
/// segment beside the quantization, so that it never needs more than a segment's weights.
class Expectation {
 public:
  /// `halves`: linears whose stored weights the written model holds as FP16, whoever reads them.
  Expectation(const Executor& executor, Values inputs, std::vector<Linear> halves)
      : executor_(executor),
        inputs_(inputs),
        values_(std::move(inputs)),
        halves_(std::move(halves)) {}

  /// Runs the next segment with quantized weights in the place of its own.
  /// `additions`: vectors to add to the rows of values.
  void Advance(const Segment& segment, const DeferredWeights& quantized, const Values& additions);
  /// The activations on the cut that Advance has reached.
  [[nodiscard]] const Values& values() const { return values_; }
  /// Goes on at a cut that was reached before.
  void Restore(Values values) { values_ = std::move(values); }
  /// Loads the model in `directory`, runs the sample, compares every output.
  [[nodiscard]] Verification Check(const std::filesystem::path& model, double tolerance) const;

 private:
  const Executor& executor_;
  Values inputs_;
  Values values_;
  std::vector<Linear> halves_;
};

/// The beginning of the longest of some samples: enough tokens for every kernel to see several
/// rows, few enough for their logits to be small.
[[nodiscard]] TokenBlock BeginningOfLongest(std::span<const std::vector<int64_t>> samples);

/// The same sample in the shape that a model fixes: cut or repeated, each row the same.
[[nodiscard]] TokenBlock Fitted(TokenBlock block, TokenShape fixed);

/// A short sample for models that were not calibrated.
[[nodiscard]] TokenBlock AnySample(int64_t vocabulary);

}  // namespace ptq
