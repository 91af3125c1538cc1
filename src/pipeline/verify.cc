#include "verify.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/tensor/sequence.h"

namespace ptq {
namespace {

/// Tokens of the sample: enough for every kernel to see several rows, few enough to cost nothing.
constexpr int64_t kSampleLength = 16;
constexpr int64_t kLongestSample = 64;

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
  bool found = false;
  ForEachStep(job, [&](int index) {
    const Step& step = executor.plan().steps()[size_t(index)];
    found = found || std::ranges::any_of(ReadsOf(executor.graph(), step), [&](ValueId id) {
              return DependsOn(executor.plan(), id, constant);
            });
  });
  return found;
}

}  // namespace

TokenBlock BeginningOfLongest(std::span<const std::vector<int64_t>> samples) {
  const auto longest = std::ranges::max_element(samples, {}, &std::vector<int64_t>::size);
  TokenBlock block;
  block.batch = 1;
  block.length = std::min(int64_t(longest->size()), kLongestSample);
  block.ids.assign(longest->begin(), longest->begin() + block.length);
  return block;
}

TokenBlock Fitted(TokenBlock block, TokenShape fixed) {
  const int64_t length = fixed.length > 0 ? fixed.length : block.length;
  const int64_t batch = std::max<int64_t>(1, fixed.batch);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < batch * length; ++i) {
    ids.push_back(block.ids[size_t(i % length % block.length)]);
  }
  return {batch, length, std::move(ids), {}};
}

TokenBlock AnySample(int64_t vocabulary) {
  TokenBlock block;
  block.batch = 1;
  block.length = kSampleLength;
  const int64_t modulus = vocabulary > 0 ? vocabulary : kSampleLength;
  for (int64_t i = 0; i < kSampleLength; ++i) block.ids.push_back((1 + 7 * i) % modulus);
  return block;
}

void Expectation::Advance(const Segment& segment, const DeferredWeights& quantized,
                          const Values& additions) {
  Values overrides;
  const Job job = executor_.MakeJob(segment, segment.live_out, {});
  for (const ValueId id : halves_) {
    if (!Reads(executor_, job, id)) continue;
    Tensor rounded = executor_.LoadConstant(id);
    const auto values = rounded.mutable_data<float>();
    RoundToHalf(values, values);
    overrides[id] = std::move(rounded);
  }
  values_ = executor_.RunOnce(job, overrides, quantized, std::move(values_), additions);
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
