// Finds what a job reads of a stored weight, and puts rounded values in its place.
#include "half_weights.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>

#include "ptq/base/half.h"
#include "ptq/runtime/deferred_table.h"
#include "ptq/runtime/stored_matrix.h"

namespace ptq {
namespace {

/// Tells which constants are another one, or are folded from it. Each is looked at once.
class Dependents {
 public:
  Dependents(const ExecutionPlan& plan, ValueId constant) : plan_(plan), known_{{constant, true}} {}

  [[nodiscard]] bool Has(ValueId id) {
    if (id == kNoValue || !plan_.IsConstant(id)) return false;
    const auto [entry, added] = known_.try_emplace(id, false);
    if (!added || plan_.graph().value(id).constant != nullptr) return entry->second;
    const Step& step = plan_.steps()[size_t(plan_.graph().value(id).producer)];
    const bool found = std::ranges::any_of(plan_.graph().inputs(step.node),
                                           [&](ValueId input) { return Has(input); });
    return known_[id] = found;
  }

 private:
  const ExecutionPlan& plan_;
  std::unordered_map<ValueId, bool> known_;
};

/// What a job reads of a constant: itself, or what is folded from it.
std::set<ValueId> ReadsFrom(const Executor& executor, const Job& job, ValueId constant) {
  std::set<ValueId> found;
  Dependents dependents(executor.plan(), constant);
  ForEachStep(job, [&](int index) {
    const Step& step = executor.plan().steps()[size_t(index)];
    std::ranges::copy_if(ReadsOf(executor.graph(), step), std::inserter(found, found.end()),
                         [&](ValueId id) { return dependents.Has(id); });
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
    const StoredTensor* const stored = executor.graph().value(id).constant;
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

void AddHalfWeights(const Executor& executor, const Job& job, const std::vector<Linear>& linears,
                    Values& overrides, DeferredWeights& deferred) {
  for (const Linear& linear : linears) {
    const std::set<ValueId> read = ReadsFrom(executor, job, linear.stored);
    if (read.empty() || overrides.contains(linear.stored)) continue;
    if (DeferRounded(executor, linear, read, deferred)) continue;
    overrides[linear.stored] = RoundedConstant(executor, linear.stored);
  }
}

}  // namespace ptq
