// A job that runs once: what its constants cost in memory and time matters as much as its products.
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "pass.h"

#include "ptq/base/parallel.h"
#include "ptq/model/constant_view.h"
#include "ptq/runtime/deferred_table.h"
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

/// Mapped bytes of one weight that may be resident: those of a head or a table are many.
constexpr int64_t kResidentBytes = 32 << 20;

/// The weight of a MatMul, when it is stored in 16 bits, or so large that it should not be resident
/// as a whole.
std::optional<MatrixRows> FindStored(const ExecutionPlan& plan, ValueId operand,
                                     const Values& overrides) {
  // What an override replaces may lie anywhere on the way.
  if (!overrides.empty()) return std::nullopt;
  const auto view = ViewConstant(plan.graph(), operand);
  if (!view || view->shape.size() != 2) return std::nullopt;
  const auto dtype = DType(plan.graph().value(view->stored).constant->data_type());
  const bool large =
      dtype == DType::kFloat32 && BytesOf(dtype, NumElements(view->shape)) > kResidentBytes;
  if (!large && dtype != DType::kFloat16 && dtype != DType::kBFloat16) return std::nullopt;
  return FindStoredRows(plan.graph(), operand, true);  // MatMul's operand is [K, N]
}

/// Reads stored rows, and lets mapped pages go every now and then.
RowReader ReaderOf(const Graph& graph, ValueId operand, MatrixRows rows) {
  const StoredTensor& stored = *graph.value(ViewConstant(graph, operand)->stored).constant;
  const int64_t row_bytes = BytesOf(DType(stored.data_type()), rows.cols());
  return [&weights = graph.model().weights(), &stored, row_bytes, rows = std::move(rows),
          read = std::make_shared<std::atomic<int64_t>>(0)](int64_t begin, int64_t end,
                                                            std::vector<float>& buffer) {
    if ((*read += (end - begin) * row_bytes) >= kResidentBytes) {
      *read = 0;
      weights.Drop(stored);  // who still reads there has the pages mapped again
    }
    return rows.Get(begin, end, buffer);
  };
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
                                               const ValueEdits& edits, const Values& overrides,
                                               const DeferredWeights& deferred) const {
  const Node& node = graph().nodes()[size_t(step.node)];
  if (!node.domain().empty() || node.op_type() != "MatMul" ||
      step.inputs != graph().inputs(step.node))
    return std::nullopt;
  const ValueId weight = step.inputs[1];
  if (!plan_.IsConstant(weight) || plan_.IsConstant(step.inputs[0])) return std::nullopt;
  Tensor x = table[size_t(step.inputs[0])];
  const auto fits = [&](int64_t k) {
    return x.dtype() == DType::kFloat32 && x.rank() > 0 && x.dim(-1) == k;
  };
  if (const auto edit = edits.first_inputs.find(step.node); edit != edits.first_inputs.end()) {
    x = edit->second->Of(x);
  }
  if (const auto found = deferred.find(weight); found != deferred.end()) {
    const DeferredWeight& w = *found->second;
    if (!fits(w.k())) return std::nullopt;
    return Product(x, w.n(), w.k(), std::bind_front(&DeferredWeight::Rows, &w));
  }
  const auto stored = FindStored(plan_, weight, overrides);
  if (!stored.has_value() || !fits(stored->cols())) return std::nullopt;
  return Product(x, stored->rows(), stored->cols(), ReaderOf(graph(), weight, *stored));
}

namespace {

bool GathersRows(const Node& node) {
  return node.domain().empty() && node.op_type() == "Gather" && node.Int("axis", 0) == 0;
}

/// Some of the N rows of a table [N, K]; nothing for a row that it has not.
std::optional<Tensor> GatheredRows(int64_t n, int64_t k, const RowReader& rows,
                                   const Tensor& indices) {
  Shape shape = indices.shape();
  shape.push_back(k);
  Tensor gathered(DType::kFloat32, shape);
  float* to = gathered.mutable_data<float>().data();
  std::vector<float> buffer;
  for (int64_t index : indices.ToInt64s()) {
    if (index < 0) index += n;
    if (index < 0 || index >= n) return std::nullopt;  // the kernel says what is wrong
    to = std::copy_n(rows(index, index + 1, buffer), k, to);
  }
  return gathered;
}

/// The table that a Gather takes rows of, when it is stored in 16 bits.
std::optional<MatrixRows> FindHalfTable(const Graph& graph, ValueId table) {
  const auto view = ViewConstant(graph, table);
  if (!view.has_value() || view->shape.size() != 2) return std::nullopt;
  const auto dtype = DType(graph.value(view->stored).constant->data_type());
  if (dtype != DType::kFloat16 && dtype != DType::kBFloat16) return std::nullopt;
  return FindStoredRows(graph, table, false);
}

}  // namespace

/// Constants are loaded in front of the step that reads them, and let go behind it.
class SinglePass : public Pass {
 public:
  SinglePass(const Executor& executor, const Values& overrides, const DeferredWeights& deferred,
             const ValueEdits& edits)
      : Pass(executor, kNoTap, edits),
        executor_(executor),
        edits_(edits),
        overrides_(overrides),
        deferred_(deferred) {}

 private:
  void RunStep(const Job& job, size_t index) override {
    const Step& step = StepOf(job, index);
    auto result = executor_.ProductByTiles(step, table(), edits_, overrides_, deferred_);
    if (!result.has_value()) result = Gathered(step);
    if (result.has_value()) {
      Release(job, index);
      table()[size_t(graph().outputs(step.node)[0])] = std::move(*result);
      return;
    }
    Values own = overrides_;
    AddDeferred(step, own);
    Job single;
    single.steps = {job.steps[index]};
    constants_ = executor_.LoadConstants(single, own);
    Execute(job, index);
    constants_.clear();
  }

  /// The deferred weights that the step's constants are, or are computed from. Each constant is
  /// looked at once.
  void AddDeferred(const Step& step, Values& own) const {
    if (deferred_.empty()) return;
    std::vector<ValueId> open = step.inputs;
    std::unordered_set<ValueId> seen;
    while (!open.empty()) {
      const ValueId id = open.back();
      open.pop_back();
      if (id == kNoValue || !executor_.plan().IsConstant(id) || own.contains(id)) continue;
      if (!seen.insert(id).second) continue;
      if (const auto found = deferred_.find(id); found != deferred_.end()) {
        own[id] = found->second->Whole();
        continue;
      }
      const Value& value = executor_.graph().value(id);
      if (value.constant != nullptr) continue;
      const auto& inputs = executor_.plan().steps()[size_t(value.producer)].inputs;
      open.insert(open.end(), inputs.begin(), inputs.end());
    }
  }

  std::optional<Tensor> Gathered(const Step& step) {
    const bool reads_two = step.inputs.size() == 2 && step.inputs[1] != kNoValue;
    if (!reads_two || executor_.plan().IsConstant(step.inputs[1])) return std::nullopt;
    if (!GathersRows(graph().nodes()[size_t(step.node)])) return std::nullopt;
    const Tensor& indices = table()[size_t(step.inputs[1])];
    const auto found = deferred_.find(step.inputs[0]);
    if (found == deferred_.end()) return GatheredFromFile(step.inputs[0], indices);
    const auto* const rows = dynamic_cast<const DeferredTable*>(found->second.get());
    if (rows == nullptr) return std::nullopt;
    return GatheredRows(rows->n(), rows->k(), std::bind_front(&DeferredWeight::Rows, rows),
                        indices);
  }

  /// Of a large table a text needs a few rows.
  std::optional<Tensor> GatheredFromFile(ValueId table, const Tensor& indices) const {
    if (!overrides_.empty() || !executor_.plan().IsConstant(table)) return std::nullopt;
    const auto stored = FindHalfTable(graph(), table);
    if (!stored.has_value()) return std::nullopt;
    return GatheredRows(
        stored->rows(), stored->cols(),
        [&](int64_t begin, int64_t end, std::vector<float>& buffer) {
          return stored->Get(begin, end, buffer);
        },
        indices);
  }

  Tensor Constant(ValueId id) override {
    if (const auto found = constants_.find(id); found != constants_.end()) return found->second;
    Values known;  // a condition, or a goal
    return executor_.EvaluateConstant(id, overrides_, known);
  }

  inline static const Tap kNoTap;
  const Executor& executor_;
  const ValueEdits& edits_;
  const Values& overrides_;
  const DeferredWeights& deferred_;
  Values constants_;  ///< of the step that runs now
};

Values Executor::RunOnce(const Job& job, const Values& overrides, const DeferredWeights& deferred,
                         Values inputs, const ValueEdits& edits) const {
  return SinglePass(*this, overrides, deferred, edits).Run(job, std::move(inputs));
}

}  // namespace ptq
