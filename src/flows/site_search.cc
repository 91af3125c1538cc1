// Asks the search for codes, and multiplies what is lost by a Gram matrix.
#include "site_search.h"

#include <algorithm>

#include "ptq/base/interrupt.h"
#include "ptq/search/weight_rows.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Rows of a weight that are looked at together.
constexpr int64_t kLossTile = 128;

/// [K, K], both triangles.
std::vector<float> WholeGram(const SiteStatistics& statistics) {
  const int64_t k = statistics.k();
  std::vector<float> gram(statistics.gram().begin(), statistics.gram().end());
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = i + 1; j < k; ++j) gram[size_t(i * k + j)] = gram[size_t(j * k + i)];
  }
  return gram;
}

/// tr(A H Aᵀ) for rows A [n, K].
double EnergyOf(const std::vector<float>& rows, int64_t n, const std::vector<float>& gram,
                std::vector<float>& product) {
  const int64_t k = std::ssize(rows) / n;
  product.resize(rows.size());
  Gemm(1, {rows.data(), n, k, k}, {gram.data(), k, k, k}, 0, product.data(), k);
  double energy = 0;
  for (size_t i = 0; i < rows.size(); ++i) energy += double(rows[i]) * product[i];
  return energy;
}

}  // namespace

std::vector<int> SiteSearch::LinearsOf(const Site& site) const {
  std::vector<int> linears;
  std::ranges::copy_if(site.linears, std::back_inserter(linears), [&](int index) {
    const Linear& linear = plan_.linears[size_t(index)];
    return linear.decision.quantizes() && !linear.reused && !linear.decision.known;
  });
  return linears;
}

SiteResult SiteSearch::Search(const Site& site, const SiteStatistics& statistics) const {
  SiteProblem problem;
  const std::vector<float> mean_abs = statistics.MeanAbs();
  problem.k = statistics.k();
  problem.mean_abs = mean_abs;
  problem.max_abs = statistics.max_abs();
  problem.gram = statistics.gram();
  problem.tokens = statistics.count();
  problem.scaling_allowed = site.scaling_allowed;
  problem.row_of_channel = site.fold.row_of_channel;
  for (const int index : LinearsOf(site)) {
    const Linear& linear = plan_.linears[size_t(index)];
    const auto& own = linear.decision.method;
    problem.linears.push_back({linear.name, WeightRows(executor_, linear), linear.spec(),
                               own.has_value() ? &*own : nullptr});
  }
  return QuantizeSite(problem, method_);
}

std::vector<double> SiteSearch::RelativeLosses(const Site& site, const SiteResult& found,
                                               const SiteStatistics& statistics) const {
  const std::vector<float> gram = WholeGram(statistics);
  const std::vector<int> linears = LinearsOf(site);
  std::vector<double> losses;
  std::vector<float> delta, weights, buffer, product;
  for (size_t at = 0; at < linears.size(); ++at) {
    const MatrixRows rows = WeightRows(executor_, plan_.linears[size_t(linears[at])]);
    const QuantizedMatrix& q = found.linears[at].q;
    double loss = 0, energy = 0;
    for (int64_t begin = 0; begin < q.n; begin += kLossTile) {
      CheckInterrupt();
      const int64_t end = std::min(q.n, begin + kLossTile);
      delta.resize(size_t((end - begin) * q.k));
      q.DequantizeRows(begin, end, delta.data());
      const float* const w = rows.Get(begin, end, buffer);
      weights.assign(w, w + delta.size());
      for (size_t i = 0; i < delta.size(); ++i) {
        const float scale = found.scale.empty() ? 1.0f : found.scale[i % size_t(q.k)];
        delta[i] = delta[i] / scale - weights[i];
      }
      loss += EnergyOf(delta, end - begin, gram, product);
      energy += EnergyOf(weights, end - begin, gram, product);
    }
    losses.push_back(energy > 0 ? loss / energy : 0);
  }
  return losses;
}

}  // namespace ptq
