// Nucleus sampling in double precision.
#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/evaluate/generation.h"

namespace ptq {

double DrawUnit(std::mt19937_64& generator) { return double(generator() >> 11) * 0x1.0p-53; }

int64_t DrawToken(std::span<const float> logits, const SamplingOptions& options,
                  std::mt19937_64& generator) {
  const int64_t likeliest = LikeliestToken(logits);
  if (options.temperature <= 0) return likeliest;
  const double largest = logits[size_t(likeliest)];
  if (!std::isfinite(largest)) throw InputError("the model gives no logits that are finite");
  std::vector<double> weights(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double difference = (double(logits[i]) - largest) / options.temperature;
    sum += weights[i] = std::isnan(difference) ? 0 : std::exp(difference);
  }
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto likelier = [&](size_t a, size_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  };
  // The nucleus is mostly small: only as much as is needed is put in order.
  size_t sorted = 0, kept = 0;
  double mass = 0;
  while (kept < order.size() && (kept == 0 || mass < options.top_p * sum)) {
    if (kept == sorted) {
      sorted = std::min(order.size(), std::max<size_t>(64, 4 * sorted));
      std::partial_sort(order.begin() + std::ptrdiff_t(kept),
                        order.begin() + std::ptrdiff_t(sorted), order.end(), likelier);
    }
    mass += weights[order[kept++]];
  }
  double place = DrawUnit(generator) * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    place -= weights[order[i]];
    if (place < 0) return int64_t(order[i]);
  }
  return int64_t(order[kept - 1]);
}

}  // namespace ptq
