// Sees what quantized weights give, so that the written model can be held to it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Carries one sample through the original graph with the quantized weights in place, segment by
/// segment beside the quantization, so that it never needs more than a segment's weights. It can be
/// dismissed, and then does nothing.
class Witness {
 public:
  /// Linears that the plan stores as FP16 count as rounded, whoever reads their weights.
  /// `half_floats`: so does all else, and the written model's values are less exact.
  Witness(const Executor& executor, const Plan& plan, bool half_floats);

  /// Whether a sample is one that the model is known to read.
  enum class Sample { kReal, kMadeUp };
  /// Begins at the graph's inputs. A sample that was made up may be refused by a kernel (one traced
  /// for a single length, say): that dismisses the witness.
  void Begin(Values inputs, Sample sample);
  /// From now on nothing is verified, and the result of Check says why.
  void Dismiss(std::string why);
  /// The same, which the user is told.
  void Excuse(const Error& why);
  /// The activations on the cut that is reached; null without a sample.
  [[nodiscard]] const Values* values() const { return values_ ? &*values_ : nullptr; }
  /// Goes on at a cut that was reached before, behind `segments`.
  void Restore(Values values, size_t segments);

  /// What stands for constants in all segments.
  void TakeOthers(DeferredWeights others);
  /// What stands for a segment's constants, and is added to the rows of its values.
  void Take(DeferredWeights operands, const ValueEdits& edits);
  /// Runs all segments up to the first `segments` that have not been run, with what was taken.
  void AdvanceTo(size_t segments);

  /// Loads a written model, runs the sample, and compares every output. Throws QualityError when
  /// one is too far from the expected one.
  [[nodiscard]] Verification Check(const std::filesystem::path& model) const;

 private:
  void Advance(const Segment& segment);
  [[nodiscard]] double Distance(const std::filesystem::path& model) const;

  const Executor& executor_;
  const std::vector<Linear> halves_;
  const bool rounds_;  ///< the written graph computes in FP16
  /// It rounds activations, or what it keeps of them. The last bit of a value decides the code of
  /// another there, so the two are compared without any such rounding, where they agree closely:
  /// weights, scales of weights and wiring.
  const bool rounds_activations_;
  const bool rounds_caches_;
  const double tolerance_;
  std::string note_;  ///< why it was dismissed
  Sample sample_ = Sample::kReal;
  Values inputs_;
  std::optional<Values> values_;
  size_t segments_ = 0;  ///< that the values have passed
  DeferredWeights others_;
  DeferredWeights operands_;
  ValueEdits edits_;
};

}  // namespace ptq
