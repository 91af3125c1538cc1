// A job that runs once: what its constants cost in memory and time matters as much as its products.
#include <algorithm>
#include <functional>
#include <optional>

#include "pass.h"

#include "ptq/base/parallel.h"
#include "ptq/model/constant_view.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/stored_matrix.h"
#include "ptq/tensor/gemm.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {
namespace {

/// Rows of a weight that one task widens and multiplies.
constexpr int64_t kRowTile = 128;

/// Rows of a weight, as MatrixRows::Get and DeferredWeight::Rows give them.
using RowReader =
    std::function<const float*(int64_t begin, int64_t end, std::vector<float>& buffer)>;

/// The weight of a MatMul, when it is stored in 16 bits.
std::optional<MatrixRows> FindStored(const ExecutionPlan& plan, ValueId operand,
                                     const Values& overrides) {
  // What an override replaces may lie anywhere on the way.
  if (!overrides.empty()) return std::nullopt;
  const auto view = ViewConstant(plan.graph(), operand);
  if (!view || view->shape.size() != 2) return std::nullopt;
  const auto dtype = DType(plan.graph().value(view->stored).constant->data_type());
  if (dtype != DType::kFloat16 && dtype != DType::kBFloat16) return std::nullopt;
  return FindStoredRows(plan.graph(), operand, true);  // MatMul's operand is [K, N]
}

/// x[…, K] · Wᵀ, with no more of W as float32 than a tile for each thread.
Tensor Product(const Tensor& x, int64_t n, int64_t k, const RowReader& read) {
  Shape shape = x.shape();
  shape.back() = n;
  Tensor y(DType::kFloat32, shape);
  const int64_t rows = NumElements(shape, 0, static_cast<int64_t>(shape.size()) - 1);
  const float* from = x.data<float>().data();
  float* to = y.mutable_data<float>().data();
  constexpr int64_t kTilesInTask = 4;  // they share a buffer
  ParallelForTiles(n, kTilesInTask * kRowTile, [&](int64_t first, int64_t last) {
    std::vector<float> buffer;
    for (int64_t begin = first; begin < last; begin += kRowTile) {
      const int64_t end = std::min(last, begin + kRowTile);
      Gemm(1.0f, {from, rows, k, k}, {read(begin, end, buffer), end - begin, k, k, true}, 0.0f,
           to + begin, n);
    }
  });
  return y;
}

}  // namespace

/// The product of a MatMul by a weight that need not be there as a whole.
std::optional<Tensor> Executor::ProductByTiles(const Step& step, const std::vector<Tensor>& table,
                                               const Values& overrides,
                                               const DeferredWeights& deferred) const {
  const Node& node = graph().nodes()[size_t(step.node)];
  if (!node.domain().empty() || node.op_type() != "MatMul" ||
      step.inputs != graph().inputs(step.node))
    return std::nullopt;
  const ValueId weight = step.inputs[1];
  if (!plan_.IsConstant(weight) || plan_.IsConstant(step.inputs[0])) return std::nullopt;
  const Tensor& x = table[size_t(step.inputs[0])];
  const auto fits = [&](int64_t k) {
    return x.dtype() == DType::kFloat32 && x.rank() > 0 && x.dim(-1) == k;
  };
  if (const auto found = deferred.find(weight); found != deferred.end()) {
    const DeferredWeight& w = *found->second;
    if (!fits(w.k())) return std::nullopt;
    return Product(x, w.n(), w.k(), std::bind_front(&DeferredWeight::Rows, &w));
  }
  const auto stored = FindStored(plan_, weight, overrides);
  if (!stored.has_value() || !fits(stored->cols())) return std::nullopt;
  return Product(x, stored->rows(), stored->cols(), std::bind_front(&MatrixRows::Get, &*stored));
}

/// Constants are loaded in front of the step that reads them, and let go behind it.
class SinglePass : public Pass {
 public:
  SinglePass(const Executor& executor, const Values& overrides, const DeferredWeights& deferred,
             const Values& additions)
      : Pass(executor, kNoTap, additions),
        executor_(executor),
        overrides_(overrides),
        deferred_(deferred) {}

 private:
  void RunStep(const Job& job, size_t index) override {
    const Step& step = StepOf(job, index);
    auto product = executor_.ProductByTiles(step, table(), overrides_, deferred_);
    if (product.has_value()) {
      Release(job, index);
      table()[size_t(graph().outputs(step.node)[0])] = std::move(*product);
      return;
    }
    Values own = overrides_;
    for (const ValueId id : step.inputs) AddDeferred(id, own);
    Job single;
    single.steps = {job.steps[index]};
    constants_ = executor_.LoadConstants(single, own);
    Execute(job, index);
    constants_.clear();
  }

  /// The deferred weights that a constant is, or is computed from.
  void AddDeferred(ValueId id, Values& own) const {
    if (deferred_.empty() || id == kNoValue || !executor_.plan().IsConstant(id)) return;
    if (own.contains(id)) return;
    if (const auto found = deferred_.find(id); found != deferred_.end()) {
      own[id] = found->second->Whole();
      return;
    }
    const Value& value = executor_.graph().value(id);
    if (value.constant != nullptr) return;
    for (const ValueId input : executor_.plan().steps()[size_t(value.producer)].inputs) {
      AddDeferred(input, own);
    }
  }

  Tensor Constant(ValueId id) override {
    if (const auto found = constants_.find(id); found != constants_.end()) return found->second;
    Values known;  // a condition, or a goal
    return executor_.EvaluateConstant(id, overrides_, known);
  }

  inline static const Tap kNoTap;
  const Executor& executor_;
  const Values& overrides_;
  const DeferredWeights& deferred_;
  Values constants_;  ///< of the step that runs now
};

Values Executor::RunOnce(const Job& job, const Values& overrides, const DeferredWeights& deferred,
                         Values inputs, const Values& additions) const {
  return SinglePass(*this, overrides, deferred, additions).Run(job, std::move(inputs));
}

}  // namespace ptq
