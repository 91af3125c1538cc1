// Ranks values by a stable sort, and correlates by the squares of the ranks' differences.
#include "ptq/evaluate/rank_correlation.h"

#include <algorithm>
#include <numeric>

#include "ptq/base/error.h"

namespace ptq {
namespace {

bool AllEqual(std::span<const double> values) {
  return std::ranges::all_of(values, [&](double x) { return x == values[0]; });
}

}  // namespace

std::vector<int64_t> OrdinalRanks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return values[i]; });
  std::vector<int64_t> ranks(values.size());
  for (size_t place = 0; place < order.size(); ++place) ranks[order[place]] = int64_t(place);
  return ranks;
}

std::optional<double> Spearman(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) throw InternalError("Spearman needs two sides of equal length");
  if (a.size() < 2 || AllEqual(a) || AllEqual(b)) return std::nullopt;
  const std::vector<int64_t> x = OrdinalRanks(a);
  const std::vector<int64_t> y = OrdinalRanks(b);
  double squares = 0;
  for (size_t i = 0; i < x.size(); ++i) squares += double(x[i] - y[i]) * double(x[i] - y[i]);
  const auto n = static_cast<double>(a.size());
  return 1 - 6 * squares / (n * (n * n - 1));
}

}  // namespace ptq
