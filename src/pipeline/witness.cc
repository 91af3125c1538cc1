// Carries one sample along with the weights as stored, and compares the written model with it.
#include "witness.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "half_weights.h"
#include "run_context.h"
#include <spdlog/spdlog.h>

#include "ptq/model/graph.h"
#include "ptq/model/model.h"
#include "ptq/runtime/refused_input.h"
#include "ptq/tensor/sequence.h"
#include "ptq/transform/half_graph.h"

namespace ptq {
namespace {

/// Largest relative difference that reordering of float32 sums, and roundings to binary16, explain.
constexpr double kFloatTolerance = 1e-3;
constexpr double kHalfTolerance = 2e-2;

std::vector<Linear> HalfLinears(const Plan& plan) {
  std::vector<Linear> halves;
  std::ranges::copy_if(plan.linears, std::back_inserter(halves),
                       [](const Linear& linear) { return linear.decision.halves(); });
  return halves;
}

/// max |x − y| ÷ max |y|; infinite when one of them is not a number where the other is.
template <class T>
double RelativeDifference(std::span<const T> x, std::span<const T> y) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double a = x[i];
    const double b = y[i];
    if (std::isfinite(b)) largest = std::max(largest, std::abs(b));
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double difference = std::abs(a - b);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
  }
  return largest > 0 ? worst / largest : worst;
}

/// Logits are large: float32 stays as it is.
Tensor Comparable(const Tensor& tensor) {
  return tensor.dtype() == DType::kFloat32 ? tensor : tensor.Cast(DType::kFloat64);
}

double RelativeDifference(const Tensor& got, const Tensor& expected) {
  if (expected.dtype() == kSequence && got.shape() == expected.shape()) {
    double worst = 0;
    for (size_t i = 0; i < ElementsOf(expected).size(); ++i) {
      worst = std::max(worst, RelativeDifference(ElementsOf(got)[i], ElementsOf(expected)[i]));
    }
    return worst;
  }
  if (got.shape() != expected.shape()) {
    throw QualityError("verification: an output has shape " + ToString(got.shape()) +
                       " instead of " + ToString(expected.shape()));
  }
  const Tensor a = Comparable(got);
  const Tensor b = Comparable(expected);
  return a.dtype() == DType::kFloat32 ? RelativeDifference(a.data<float>(), b.data<float>())
                                      : RelativeDifference(a.data<double>(), b.data<double>());
}

/// The sample's values for the inputs of the written model.
Values InputsFor(const Graph& written, const Graph& source, const Values& inputs) {
  Values feeds;
  for (const ValueId id : written.graph_inputs()) {
    const ValueId own = source.Find(written.value(id).name);
    if (own == kNoValue || !inputs.contains(own)) {
      throw QualityError("verification: the written model has an input '" + written.value(id).name +
                         "' that the source has not");
    }
    feeds[id] = inputs.at(own);
  }
  return feeds;
}

}  // namespace

Witness::Witness(const Executor& executor, const Plan& plan, bool half_floats)
    : executor_(executor),
      halves_(plan.half.has_value() ? std::vector<Linear>() : HalfLinears(plan)),
      rounds_(plan.half.has_value()),
      rounds_activations_(RoundsActivations(plan)),
      rounds_caches_(plan.caches.has_value()),
      tolerance_(half_floats || HasHalfLinears(plan) ? kHalfTolerance : kFloatTolerance) {}

void Witness::Begin(Values inputs, Sample sample) {
  executor_.plan().RequireKernels();
  sample_ = sample;
  inputs_ = inputs;
  values_ = std::move(inputs);
}

void Witness::Dismiss(std::string why) {
  note_ = std::move(why);
  values_.reset();
  operands_.clear();
  edits_.Clear();
}

void Witness::Excuse(const Error& why) {
  spdlog::warn(std::string("not verified: ") + why.what());
  Dismiss(why.what());
}

void Witness::Restore(Values values, size_t segments) {
  values_ = std::move(values);
  segments_ = segments;
}

void Witness::TakeOthers(DeferredWeights others) {
  if (values_.has_value()) others_ = std::move(others);
}

void Witness::Take(DeferredWeights operands, const ValueEdits& edits) {
  if (!values_.has_value()) return;
  operands_.merge(operands);
  edits_.additions.insert(edits.additions.begin(), edits.additions.end());
}

void Witness::AdvanceTo(size_t segments) {
  if (!values_.has_value()) return;
  try {
    for (; segments_ < segments; ++segments_) Advance(executor_.plan().segments()[segments_]);
  } catch (const RefusedInput& error) {
    if (sample_ == Sample::kReal) throw;
    Excuse(error);
  }
  operands_.clear();
  edits_.Clear();
}

void Witness::Advance(const Segment& segment) {
  Values overrides;
  const Job job = executor_.MakeJob(segment, segment.live_out, {});
  DeferredWeights weights = operands_;
  weights.insert(others_.begin(), others_.end());
  AddHalfWeights(executor_, job, halves_, overrides, weights);
  values_ = executor_.RunOnce(job, overrides, weights, std::move(*values_), edits_);
}

Verification Witness::Check(const std::filesystem::path& model) const {
  Verification verification;
  verification.note = note_;
  if (!values_.has_value()) return verification;
  verification.done = true;
  verification.tolerance = tolerance_;
  verification.max_relative = Distance(model);
  if (!(verification.max_relative <= tolerance_)) {
    throw QualityError(
        "verification failed: the written model's outputs differ from the "
        "expected ones by " +
        std::to_string(verification.max_relative) + " of their largest value (limit " +
        std::to_string(tolerance_) + "); nothing was kept");
  }
  return verification;
}

/// max |Δ| ÷ max |expected| over the outputs.
double Witness::Distance(const std::filesystem::path& path) const {
  const Model model =
      Model::Load(path, rounds_activations_ || rounds_caches_, /*float_activations=*/true);
  const Graph graph(model);
  Executor executor(graph);
  // The caller's runtime may compute in FP16, which shows what is too large for it.
  if (rounds_) executor.RoundToHalf(HalfValues(graph));
  const Values outputs = executor.RunAll(InputsFor(graph, executor_.graph(), inputs_));
  double worst = 0;
  for (const ValueId id : executor_.graph().graph_outputs()) {
    const ValueId other = graph.Find(executor_.graph().value(id).name);
    if (other == kNoValue) throw QualityError("verification: an output of the source is missing");
    worst = std::max(worst, RelativeDifference(outputs.at(other), values_->at(id)));
  }
  return worst;
}

}  // namespace ptq
