// Quantizes rows of a table as a weight of which no activation is known.
#include "ptq/search/table_codes.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/deferred_table.h"
#include "ptq/runtime/stored_matrix.h"
#include "ptq/tensor/transpose.h"

namespace ptq {
namespace {

/// Rows that one task dequantizes.
constexpr int64_t kTableTile = 64;

MatrixRows RowsOf(const Graph& graph, const Table& table) {
  auto rows = FindStoredRows(graph, table.operand, /*transposed=*/false);
  if (!rows) throw InternalError("'" + table.name + "' does not lie in rows");
  return *std::move(rows);
}

/// Rows as the written model looks them up, or multiplies with them. `Base`: what the graph may do
/// with the constant.
template <class Base>
class DequantizedTable : public Base {
 public:
  DequantizedTable(std::shared_ptr<const TableCodes> codes, bool transposed)
      : codes_(std::move(codes)), transposed_(transposed) {}
  [[nodiscard]] int64_t n() const override { return codes_->n(); }
  [[nodiscard]] int64_t k() const override { return codes_->k(); }
  const float* Rows(int64_t begin, int64_t end, std::vector<float>& buffer) const override {
    const auto count = size_t((end - begin) * k());
    if (buffer.size() < count) buffer.resize(count);
    codes_->Rows(begin, end).Dequantize(buffer.data());
    return buffer.data();
  }
  [[nodiscard]] Tensor Whole() const override {
    Tensor whole(DType::kFloat32, transposed_ ? Shape{k(), n()} : Shape{n(), k()});
    float* const to = whole.mutable_data<float>().data();
    ParallelForTiles(n(), kTableTile, [&](int64_t begin, int64_t end) {
      std::vector<float> buffer;
      const float* const rows = Rows(begin, end, buffer);
      if (transposed_) {
        TransposePart(rows, k(), end - begin, k(), to + begin, n());
      } else {
        std::copy_n(rows, (end - begin) * k(), to + begin * k());
      }
    });
    return whole;
  }

 private:
  const std::shared_ptr<const TableCodes> codes_;
  const bool transposed_;
};

}  // namespace

LinearResult RoundAlone(const std::string& name, std::span<const float> w, int64_t k,
                        const QuantSpec& spec) {
  SiteProblem problem;
  problem.k = k;
  problem.linears.push_back({name, MatrixRows(w, k), spec});
  Method method;
  method.grid = "search";
  return std::move(QuantizeSite(problem, method).linears.front());
}

TableCodes::TableCodes(const Graph& graph, const Table& table)
    : graph_(graph),
      name_(table.name),
      stored_(table.stored),
      spec_(table.spec()),
      rows_(RowsOf(graph, table)) {}

QuantizedMatrix TableCodes::Rows(int64_t begin, int64_t end, Outcome* sums) const {
  std::vector<float> buffer;
  const float* const w = rows_.Get(begin, end, buffer);
  LinearResult found = RoundAlone(name_, std::span(w, size_t((end - begin) * k())), k(), spec_);
  if (sums != nullptr) {
    sums->loss_before += found.loss_rtn;
    sums->loss_after += found.loss;
    sums->energy += found.energy;
    graph_.model().weights().Drop(*graph_.value(stored_).constant);
  }
  return std::move(found.q);
}

DeferredWeights TableOperands(const Graph& graph, const Plan& plan) {
  DeferredWeights operands;
  for (const Table& table : plan.tables) {
    if (!table.decision.quantizes()) continue;
    const auto codes = std::make_shared<const TableCodes>(graph, table);
    for (const int lookup : table.lookups) {
      operands[graph.inputs(lookup)[0]] =
          std::make_shared<DequantizedTable<DeferredTable>>(codes, /*transposed=*/false);
    }
    for (const int index : table.linears) {
      const Linear& linear = plan.linears[size_t(index)];
      operands.try_emplace(linear.operand, std::make_shared<DequantizedTable<DeferredWeight>>(
                                               codes, !linear.operand_is_nk));
    }
  }
  return operands;
}

}  // namespace ptq
