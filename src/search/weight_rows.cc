// Finds the rows of a linear's weight, and weights that no codes can stand for.
#include "ptq/search/weight_rows.h"

#include <atomic>
#include <cmath>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/stored_matrix.h"

namespace ptq {
namespace {

/// Rows that one task reads.
constexpr int64_t kTile = 64;
/// Elements of a weight behind other nodes (a Transpose) that is computed as a run does, to see
/// that these nodes can be; of larger ones only what is stored is looked at.
constexpr int64_t kMostComputed = int64_t{1} << 26;

/// Whether all are numbers, and small enough for scales: a runtime multiplies a scale with codes of
/// up to 32 times the largest weight's. In a loop that the compiler makes vectors of.
bool AreFinite(std::span<const float> values) {
  constexpr float kRoom = 32;
  float sum = 0;  // x - x is 0, or NaN for an infinite x and a NaN
  for (const float value : values) sum += value * kRoom - value * kRoom;
  return sum == 0;
}

void CheckRows(const std::string& name, const MatrixRows& rows) {
  std::atomic<bool> finite = true;
  ParallelForTiles(rows.rows(), kTile, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer;
    const float* const w = rows.Get(begin, end, buffer);
    if (!AreFinite({w, size_t((end - begin) * rows.cols())})) finite = false;
  });
  if (!finite) RefuseWeight(name);
}

/// The filters' elements as they lie.
void CheckWhole(const Graph& graph, const Constant& constant) {
  const Tensor whole =
      graph.model().weights().Read(*graph.value(constant.stored).constant).Widened();
  if (!AreFinite(whole.data<float>())) RefuseWeight(constant.name);
}

/// Checks each weight once, whoever shares it.
class Checker {
 public:
  Checker(const Executor& executor, const Plan& plan) : graph_(executor.graph()), plan_(plan) {}

  template <class Check>
  void Look(const Subject& subject, ValueId part, Check check) {
    progress_.Advance();
    if (!subject.decision.quantizes() || !seen_.insert(part).second) return;
    check();
    if (subject.stored == kNoValue) return;
    graph_.model().weights().Drop(*graph_.value(subject.stored).constant);
  }

 private:
  const Graph& graph_;
  const Plan& plan_;
  std::set<ValueId> seen_;
  Progress progress_{"checking weights",
                     int64_t(plan_.tables.size() + plan_.constants.size() + plan_.linears.size())};
};

}  // namespace

MatrixRows WeightRows(const Executor& executor, const Linear& linear) {
  const bool transposed = !linear.operand_is_nk;
  if (auto rows = FindStoredRows(executor.graph(), linear.operand, transposed)) return *rows;
  const Tensor whole = executor.LoadConstant(linear.operand);
  const int64_t stride = transposed ? linear.n / linear.experts : linear.k;
  return {whole, MatrixRows::Part{linear.n, linear.k, 0, stride, transposed, linear.experts}};
}

void CheckFiniteWeights(const Executor& executor, const Plan& plan) {
  Checker checker(executor, plan);
  for (const Table& table : plan.tables) {
    checker.Look(table, table.operand, [&] {
      if (const auto rows = FindStoredRows(executor.graph(), table.operand, false)) {
        CheckRows(table.name, *rows);
      }
    });
  }
  for (const Constant& constant : plan.constants) {
    checker.Look(constant, constant.stored, [&] { CheckWhole(executor.graph(), constant); });
  }
  for (const Linear& linear : plan.linears) {
    checker.Look(linear, linear.part, [&] {
      const bool computed = linear.operand != linear.stored;
      if (computed && linear.n * linear.k <= kMostComputed) {
        (void)executor.LoadConstant(linear.operand);
      }
      CheckRows(linear.name, WeightRows(executor, linear));
    });
  }
}

}  // namespace ptq
