// A table in codes, which are found on the weight alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ptq/model/graph.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/quant/spec.h"
#include "ptq/runtime/executor.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// Rows [_, k] of a weight of which no activation is known, on the searched grid. Throws InputError
/// when one is not finite.
[[nodiscard]] LinearResult RoundAlone(const std::string& name, std::span<const float> w, int64_t k,
                                      const QuantSpec& spec);

/// Rows of a quantized table on the searched grid, each never worse than rounded to nearest on its
/// own range. They are made whenever they are asked for, and come out the same: a table is held as
/// a whole neither as floats nor as codes.
class TableCodes {
 public:
  /// `graph` outlives this.
  TableCodes(const Graph& graph, const Table& table);
  [[nodiscard]] int64_t n() const { return rows_.rows(); }
  [[nodiscard]] int64_t k() const { return rows_.cols(); }

  /// The rows [begin, end); their losses are added to `sums`, unless that is null. Thread-safe.
  /// Throws InputError when one is not finite.
  [[nodiscard]] QuantizedMatrix Rows(int64_t begin, int64_t end, Outcome* sums = nullptr) const;

 private:
  const Graph& graph_;
  const std::string name_;
  const ValueId stored_;
  const QuantSpec spec_;
  const MatrixRows rows_;
};

/// What stands for the constants of a plan's quantized tables, and of the linears that read their
/// codes, in the original graph.
[[nodiscard]] DeferredWeights TableOperands(const Graph& graph, const Plan& plan);

}  // namespace ptq
