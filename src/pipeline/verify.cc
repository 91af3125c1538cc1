// Carries one sample along with the weights as stored, and compares the written model with it.
#include "verify.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/runtime/deferred_table.h"
#include "ptq/runtime/stored_matrix.h"
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

/// What a job reads of a constant: itself, or what is folded from it.
std::set<ValueId> ReadsFrom(const Executor& executor, const Job& job, ValueId constant) {
  std::set<ValueId> found;
  ForEachStep(job, [&](int index) {
    const Step& step = executor.plan().steps()[size_t(index)];
    std::ranges::copy_if(ReadsOf(executor.graph(), step), std::inserter(found, found.end()),
                         [&](ValueId id) { return DependsOn(executor.plan(), id, constant); });
  });
  return found;
}

Tensor RoundedConstant(const Executor& executor, ValueId id) {
  Tensor rounded = executor.LoadConstant(id);
  const auto values = rounded.mutable_data<float>();
  RoundToHalf(values, values);
  return rounded;
}

/// A stored float32 weight, a few rows at a time rounded to binary16. `Base`: what the graph may do
/// with it.
template <class Base>
class RoundedWeight : public Base {
 public:
  RoundedWeight(const Executor& executor, ValueId constant, ValueId stored, MatrixRows rows)
      : executor_(executor), constant_(constant), stored_(stored), rows_(std::move(rows)) {}

  [[nodiscard]] int64_t n() const override { return rows_.rows(); }
  [[nodiscard]] int64_t k() const override { return rows_.cols(); }
  const float* Rows(int64_t begin, int64_t end, std::vector<float>& buffer) const override {
    const auto count = size_t((end - begin) * rows_.cols());
    if (buffer.size() < count) buffer.resize(count);
    const float* const rows = rows_.Get(begin, end, buffer);
    RoundToHalf(std::span(rows, count), std::span(buffer.data(), count));
    if ((read_ += int64_t(count)) >= kResidentElements) {
      read_ = 0;
      executor_.graph().model().weights().Drop(*executor_.graph().value(stored_).constant);
    }
    return buffer.data();
  }
  [[nodiscard]] Tensor Whole() const override { return RoundedConstant(executor_, constant_); }

 private:
  static constexpr int64_t kResidentElements = 8 << 20;  ///< mapped ones, at most
  const Executor& executor_;
  const ValueId constant_;
  const ValueId stored_;
  const MatrixRows rows_;
  mutable std::atomic<int64_t> read_ = 0;
};

/// Adds what stands for a linear's weight and for the constant behind it, in a job that reads
/// nothing else of them; false when it does, or when the elements do not lie in rows.
bool DeferRounded(const Executor& executor, const Linear& linear, const std::set<ValueId>& read,
                  DeferredWeights& deferred) {
  DeferredWeights own;
  for (const ValueId id : read) {
    // The constant is a table [N, K], or it is the linear's operand in its own layout.
    const bool transposed = id == linear.operand && !linear.operand_is_nk;
    if (id != linear.operand && id != linear.stored) return false;
    const auto rows = FindStoredRows(executor.graph(), id, transposed);
    if (!rows.has_value()) return false;
    const onnx::TensorProto* const stored = executor.graph().value(id).constant;
    if (!transposed && stored != nullptr && stored->dims_size() == 2) {
      own[id] = std::make_shared<RoundedWeight<DeferredTable>>(executor, id, linear.stored, *rows);
    } else if (id == linear.operand) {
      own[id] = std::make_shared<RoundedWeight<DeferredWeight>>(executor, id, linear.stored, *rows);
    } else {
      return false;
    }
  }
  deferred.merge(own);
  return true;
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
  DeferredWeights weights = quantized;
  for (const Linear& linear : halves_) {
    const std::set<ValueId> read = ReadsFrom(executor_, job, linear.stored);
    if (read.empty() || overrides.contains(linear.stored)) continue;
    if (DeferRounded(executor_, linear, read, weights)) continue;
    overrides[linear.stored] = RoundedConstant(executor_, linear.stored);
  }
  values_ = executor_.RunOnce(job, overrides, weights, std::move(values_), additions);
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
