// Brings filters into rows, one for each output channel, and quantizes these.
#include "ptq/search/filter_codes.h"

#include <memory>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/search/table_codes.h"

namespace ptq {
namespace {

/// Filters as the written model's runtime computes them from codes.
class DequantizedFilters : public DeferredWeight {
 public:
  DequantizedFilters(const Graph& graph, const Constant& filters)
      : graph_(graph), filters_(filters) {}
  [[nodiscard]] int64_t n() const override { return filters_.n; }
  [[nodiscard]] int64_t k() const override { return filters_.k; }
  const float* Rows(int64_t /*begin*/, int64_t /*end*/,
                    std::vector<float>& /*buffer*/) const override {
    throw InternalError("'" + filters_.name + "' is no factor of a product");
  }
  [[nodiscard]] Tensor Whole() const override {
    std::vector<float> rows(size_t(n() * k()));
    FilterCodes(graph_, filters_).Dequantize(rows.data());
    const auto& dims = graph_.value(filters_.stored).constant->dims();
    Tensor whole(DType::kFloat32, Shape(dims.begin(), dims.end()));
    const auto to = whole.mutable_data<float>();
    filters_.ForEachWeight([&](size_t i, size_t element) { to[element] = rows[i]; });
    return whole;
  }

 private:
  const Graph& graph_;
  const Constant filters_;
};

}  // namespace

QuantizedMatrix FilterCodes(const Graph& graph, const Constant& filters, Outcome* sums) {
  const StoredTensor& stored = *graph.value(filters.stored).constant;
  std::vector<float> rows(size_t(filters.n * filters.k));
  {
    const Tensor whole = graph.model().weights().Read(stored).Widened();
    const auto from = whole.data<float>();
    filters.ForEachWeight([&](size_t i, size_t element) { rows[i] = from[element]; });
  }
  graph.model().weights().Drop(stored);
  LinearResult found = RoundAlone(filters.name, rows, filters.k, filters.spec());
  if (sums != nullptr) {
    sums->loss_before += found.loss_rtn;
    sums->loss_after += found.loss;
    sums->energy += found.energy;
  }
  return std::move(found.q);
}

DeferredWeights FilterOperands(const Graph& graph, const Plan& plan) {
  DeferredWeights operands;
  for (const Constant& constant : plan.constants) {
    if (!constant.decision.quantizes()) continue;
    operands[constant.stored] = std::make_shared<DequantizedFilters>(graph, constant);
  }
  return operands;
}

}  // namespace ptq
