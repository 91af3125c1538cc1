#include "verify.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ptq/base/error.h"
#include "ptq/base/half.h"

namespace ptq {
namespace {

/// Tokens of the sample: enough for every kernel to see several rows, few enough to cost nothing.
constexpr int64_t kSampleLength = 16;

/// max |a − b| ÷ max |b|; infinite when one of them is not a number where the other is.
double RelativeDifference(const Tensor& got, const Tensor& expected) {
  if (got.shape() != expected.shape()) {
    throw QualityError("verification: an output has shape " + ToString(got.shape()) +
                       " instead of " + ToString(expected.shape()));
  }
  const Tensor a = got.Cast(DType::kFloat64);
  const Tensor b = expected.Cast(DType::kFloat64);
  const auto x = a.data<double>();
  const auto y = b.data<double>();
  double worst = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(y[i])) largest = std::max(largest, std::abs(y[i]));
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    if (same) continue;
    const double difference = std::abs(x[i] - y[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
  }
  return largest > 0 ? worst / largest : worst;
}

/// Whether a constant is another one or is folded from it.
bool DependsOn(const ExecutionPlan& plan, ValueId id, ValueId constant) {
  if (id == constant) return true;
  if (id == kNoValue || !plan.IsConstant(id) || plan.graph().value(id).constant != nullptr) {
    return false;
  }
  const Step& step = plan.steps()[size_t(plan.graph().value(id).producer)];
  return std::ranges::any_of(plan.graph().inputs(step.node),
                             [&](ValueId input) { return DependsOn(plan, input, constant); });
}

bool Reads(const Executor& executor, const Job& job, ValueId constant) {
  const Graph& graph = executor.graph();
  for (const int index : job.steps) {
    const int node = executor.plan().steps()[size_t(index)].node;
    for (const auto* list : {&graph.inputs(node), &graph.captures(node)}) {
      for (const ValueId id : *list) {
        if (DependsOn(executor.plan(), id, constant)) return true;
      }
    }
  }
  return false;
}

}  // namespace

TokenBlock AnySample(int64_t vocabulary) {
  TokenBlock block;
  block.batch = 1;
  block.length = kSampleLength;
  const int64_t modulus = vocabulary > 0 ? vocabulary : kSampleLength;
  for (int64_t i = 0; i < kSampleLength; ++i) block.ids.push_back((1 + 7 * i) % modulus);
  return block;
}

void Expectation::Advance(const Segment& segment, Values overrides) {
  const Job job = executor_.MakeJob(segment, segment.live_out, {});
  for (const ValueId id : halves_) {
    if (!Reads(executor_, job, id)) continue;
    Tensor rounded = executor_.LoadConstant(id);
    const auto values = rounded.mutable_data<float>();
    RoundToHalf(values, values);
    overrides[id] = std::move(rounded);
  }
  const Values constants = executor_.LoadConstants(job, overrides);
  values_ = executor_.Run(job, constants, std::move(values_));
}

Verification Expectation::Check(const std::filesystem::path& path, double tolerance) const {
  const Model model = Model::Load(path);
  const Graph graph(model);
  const Executor executor(graph);
  Values feeds;
  for (const ValueId id : graph.graph_inputs()) {
    const ValueId own = executor_.graph().Find(graph.value(id).name);
    if (own == kNoValue || !inputs_.contains(own)) {
      throw QualityError("verification: the written model has an input '" + graph.value(id).name +
                         "' that the source has not");
    }
    feeds[id] = inputs_.at(own);
  }
  const Values outputs = executor.RunAll(std::move(feeds));
  Verification verification;
  verification.done = true;
  verification.tolerance = tolerance;
  for (const ValueId id : executor_.graph().graph_outputs()) {
    const ValueId other = graph.Find(executor_.graph().value(id).name);
    if (other == kNoValue) throw QualityError("verification: an output of the source is missing");
    verification.max_relative =
        std::max(verification.max_relative, RelativeDifference(outputs.at(other), values_.at(id)));
  }
  return verification;
}

}  // namespace ptq
