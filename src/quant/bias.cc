// Computes each row's mean error from the mean input and its mean shift, in double.
#include "bias.h"

#include <cmath>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Rows that one task takes.
constexpr int64_t kBiasRowTile = 64;

}  // namespace

std::vector<float> BiasFor(const SiteProblem& problem, const MatrixRows& w,
                           const QuantizedMatrix& q, std::span<const float> s) {
  const int64_t k = problem.k;
  // W x − Ŵ x̂ = W (x − x̂) − (Ŵ − W) x̂: small terms, rather than the difference of large ones.
  std::vector<double> mean(size_t(k), 0.0), shift(mean);
  for (size_t j = 0; j < mean.size(); ++j) {
    mean[j] = problem.sum[j] / double(problem.tokens);
    shift[j] = problem.shift_sum[j] / double(problem.tokens);
  }
  std::vector<float> bias(size_t(w.rows()));
  ParallelForTiles(w.rows(), kBiasRowTile, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer, written(size_t((end - begin) * k));
    const float* original = w.Get(begin, end, buffer);
    q.DequantizeRows(begin, end, written.data());
    for (int64_t r = 0; r < end - begin; ++r) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j) {
        const double own = double(original[r * k + j]);
        double now = double(written[size_t(r * k + j)]);
        if (!s.empty()) now /= double(s[size_t(j)]);
        sum += own * shift[size_t(j)] - (now - own) * mean[size_t(j)];
      }
      bias[size_t(begin + r)] = std::isfinite(float(sum)) ? float(sum) : 0.0f;
    }
  });
  return bias;
}

}  // namespace ptq
