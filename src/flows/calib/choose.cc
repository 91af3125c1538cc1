// Spherical k-means, shares by divisors, and greedy facility location.
#include "choose.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sampling.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr int kRounds = 12;

double Dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * b[i];
  return sum;
}

/// Half the squared distance of two points of norm 1: 0 to 2.
double DistanceOf(const TextPoints& points, size_t a, size_t b) {
  return std::max(0.0, 1 - Dot(points.row(int64_t(a)), points.row(int64_t(b))));
}

std::vector<std::vector<float>> FirstCentres(const TextPoints& points, int clusters,
                                             std::mt19937_64& generator) {
  const auto count = size_t(points.count());
  std::vector<std::vector<float>> centres;
  std::vector<double> nearest(count, 2);
  while (std::ssize(centres) < clusters) {
    double place = DrawUnit(generator) * std::accumulate(nearest.begin(), nearest.end(), 0.0);
    size_t drawn = count - 1;
    for (size_t i = 0; i < count; ++i) {
      place -= nearest[i];
      if (place < 0) {
        drawn = i;
        break;
      }
    }
    const auto row = points.row(int64_t(drawn));
    centres.emplace_back(row.begin(), row.end());
    ParallelFor(int64_t(count), [&](int64_t i) {
      nearest[size_t(i)] =
          std::min(nearest[size_t(i)], std::max(0.0, 1 - Dot(points.row(i), centres.back())));
    });
  }
  return centres;
}

void MoveCentres(const TextPoints& points, std::span<const int> cluster,
                 std::vector<std::vector<float>>& centres) {
  for (size_t c = 0; c < centres.size(); ++c) {
    std::vector<double> sum(size_t(points.width), 0);
    for (int64_t i = 0; i < points.count(); ++i) {
      if (cluster[size_t(i)] != int(c)) continue;
      const auto row = points.row(i);
      for (size_t j = 0; j < row.size(); ++j) sum[j] += row[j];
    }
    double norm = 0;
    for (const double x : sum) norm += x * x;
    if (norm == 0) continue;  // it stays where it was
    for (size_t j = 0; j < sum.size(); ++j) centres[c][j] = float(sum[j] / std::sqrt(norm));
  }
}

/// Numbers clusters in the order of their first points, so that empty ones are none.
void Renumber(std::vector<int>& cluster) {
  std::vector<int> number;
  std::vector<int> known;
  for (int& c : cluster) {
    const auto found = std::ranges::find(known, c);
    const auto place = found - known.begin();
    if (found == known.end()) known.push_back(c);
    c = int(place);
  }
}

}  // namespace

std::vector<int> ClusterPoints(const TextPoints& points, int clusters, std::mt19937_64& generator) {
  const auto count = size_t(points.count());
  clusters = int(std::min<int64_t>(clusters, points.count()));
  std::vector<int> cluster(count, 0);
  if (clusters <= 1) return cluster;
  auto centres = FirstCentres(points, clusters, generator);
  for (int round = 0; round < kRounds; ++round) {
    CheckInterrupt();
    ParallelFor(int64_t(count), [&](int64_t i) {
      double best = -2;
      for (size_t c = 0; c < centres.size(); ++c) {
        const double near = Dot(points.row(i), centres[c]);
        if (near <= best) continue;
        best = near;
        cluster[size_t(i)] = int(c);
      }
    });
    MoveCentres(points, cluster, centres);
  }
  Renumber(cluster);
  return cluster;
}

std::vector<int64_t> ShareOut(std::span<const int64_t> sizes, std::span<const double> shares,
                              int64_t wanted) {
  std::vector<int64_t> parts(sizes.size(), 0);
  wanted = std::min(wanted, std::accumulate(sizes.begin(), sizes.end(), int64_t{0}));
  const auto weight = [&](size_t i) { return shares.empty() ? double(sizes[i]) : shares[i]; };
  // One at a time to the stratum that is owed most: Webster's divisors, which come to the same as
  // rounding, and need no second look at strata that run out.
  const auto count = sizes.size();
  for (int64_t given = 0; given < wanted; ++given) {
    size_t best = count;
    for (size_t i = 0; i < count; ++i) {
      if (parts[i] >= sizes[i]) continue;
      if (best == count || (parts[i] == 0) > (parts[best] == 0) ||
          ((parts[i] == 0) == (parts[best] == 0) &&
           weight(i) / (2.0 * double(parts[i]) + 1) >
               weight(best) / (2.0 * double(parts[best]) + 1))) {
        best = i;
      }
    }
    ++parts[best];
  }
  return parts;
}

std::vector<size_t> ChooseCover(const TextPoints& points, std::span<const size_t> members,
                                int64_t wanted) {
  const size_t count = members.size();
  std::vector<float> distances(count * count);
  ParallelFor(int64_t(count), [&](int64_t i) {
    for (size_t j = 0; j < count; ++j) {
      distances[size_t(i) * count + j] = float(DistanceOf(points, members[size_t(i)], members[j]));
    }
  });
  // Before the first is chosen, what lies at a right angle is as far as what nothing stands for.
  std::vector<float> nearest(count, 1.0f);
  std::vector<bool> taken(count, false);
  std::vector<size_t> chosen;
  while (std::ssize(chosen) < wanted && chosen.size() < count) {
    CheckInterrupt();
    std::vector<double> gain(count, -1);
    ParallelFor(int64_t(count), [&](int64_t i) {
      if (taken[size_t(i)]) return;
      const auto row = std::span(distances).subspan(size_t(i) * count, count);
      double sum = 0;
      for (size_t j = 0; j < count; ++j) sum += std::max(0.0f, nearest[j] - row[j]);
      gain[size_t(i)] = sum;
    });
    const auto best = size_t(std::ranges::max_element(gain) - gain.begin());
    taken[best] = true;
    chosen.push_back(members[best]);
    for (size_t j = 0; j < count; ++j) {
      nearest[j] = std::min(nearest[j], distances[best * count + j]);
    }
  }
  return chosen;
}

}  // namespace ptq
