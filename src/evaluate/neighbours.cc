// Counts which of the ten nearest texts by cosine two models have in common.
#include "ptq/evaluate/neighbours.h"

#include <algorithm>
#include <iterator>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr int64_t kNeighbours = 10;
constexpr int64_t kQueries = 200;

}  // namespace

std::vector<int64_t> NearestTexts(const Embeddings& embeddings, int64_t query, int64_t count) {
  std::vector<double> similarity(size_t(embeddings.count()));
  std::vector<int64_t> others;
  others.reserve(similarity.size());
  for (int64_t i = 0; i < embeddings.count(); ++i) {
    similarity[size_t(i)] = Dot(embeddings.row(query), embeddings.row(i));
    if (i != query) others.push_back(i);
  }
  const auto nearest = static_cast<size_t>(std::min(count, int64_t(others.size())));
  const auto end = others.begin() + std::ptrdiff_t(nearest);
  std::partial_sort(others.begin(), end, others.end(), [&](int64_t i, int64_t j) {
    const double a = similarity[size_t(i)];
    const double b = similarity[size_t(j)];
    return a != b ? a > b : i < j;
  });
  others.resize(nearest);
  std::ranges::sort(others);
  return others;
}

std::optional<double> NeighbourOverlap(const Embeddings& a, const Embeddings& b) {
  if (a.count() < kNeighbours + 2) return std::nullopt;
  const int64_t queries = std::min(kQueries, a.count());
  std::vector<int64_t> common(size_t(queries), 0);
  ParallelFor(queries, [&](int64_t query) {
    const auto x = NearestTexts(a, query, kNeighbours);
    const auto y = NearestTexts(b, query, kNeighbours);
    std::vector<int64_t> both;
    std::ranges::set_intersection(x, y, std::back_inserter(both));
    common[size_t(query)] = int64_t(both.size());
  });
  int64_t sum = 0;
  for (const int64_t count : common) sum += count;
  return double(sum) / double(kNeighbours * queries);
}

}  // namespace ptq
