// Compares what codes stand for with the weight that they were taken from.
#include "known_linear.h"

#include <numeric>
#include <vector>

#include "ptq/base/parallel.h"
#include "ptq/plan/known_codes.h"
#include "ptq/search/weight_rows.h"

namespace ptq {
namespace {

Outcome OutcomeOf(const QuantizedMatrix& q, const MatrixRows& w) {
  constexpr int64_t kTile = 64;
  std::vector<double> losses(size_t(q.n)), energies(size_t(q.n));
  ParallelForTiles(q.n, kTile, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer, made(size_t((end - begin) * q.k));
    const float* const rows = w.Get(begin, end, buffer);
    q.DequantizeRows(begin, end, made.data());
    for (size_t i = 0; i < made.size(); ++i) {
      const size_t row = size_t(begin) + i / size_t(q.k);
      const double error = double(made[i]) - double(rows[i]);
      losses[row] += error * error;
      energies[row] += double(rows[i]) * double(rows[i]);
    }
  });
  Outcome outcome;
  outcome.loss_before = outcome.loss_after = std::accumulate(losses.begin(), losses.end(), 0.0);
  outcome.energy = std::accumulate(energies.begin(), energies.end(), 0.0);
  return outcome;
}

}  // namespace

std::pair<std::shared_ptr<const QuantizedMatrix>, Outcome> TakeKnownCodes(const Executor& executor,
                                                                          const Linear& linear) {
  auto q = std::make_shared<const QuantizedMatrix>(KnownCodes(executor.graph(), linear));
  Outcome outcome = OutcomeOf(*q, WeightRows(executor, linear));
  return {std::move(q), std::move(outcome)};
}

}  // namespace ptq
