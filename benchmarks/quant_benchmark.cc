// Quantizing one site with one linear, in weights a second.
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "ptq/base/parallel.h"
#include "ptq/quant/method.h"

namespace {

constexpr int64_t kRows = 1024;
constexpr int64_t kWidth = 1024;

std::vector<float> Normal(size_t count) {
  std::mt19937 random(13);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

void BM_QuantizeSite(benchmark::State& state, const char* method, bool calibrated) {
  const ptq::ThreadLimit limit(0);
  const std::vector<float> w = Normal(size_t(kRows * kWidth));
  std::vector<float> gram(size_t(kWidth * kWidth));
  for (int64_t i = 0; i < kWidth; ++i) gram[size_t(i * kWidth + i)] = 1.0f + float(i % 7);
  const std::vector<float> mean(size_t(kWidth), 1.0f);
  ptq::SiteProblem problem;
  problem.k = kWidth;
  if (calibrated) {
    problem.gram = gram;
    problem.mean_abs = mean;
  }
  problem.linears.push_back({"linear", ptq::MatrixRows(w, problem.k), ptq::QuantSpec()});
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(ptq::QuantizeSite(problem, ptq::MethodFromPreset(method)));
  }
  state.SetItemsProcessed(state.iterations() * kRows * kWidth);
}
BENCHMARK_CAPTURE(BM_QuantizeSite, rtn, "rtn", false)->UseRealTime();
BENCHMARK_CAPTURE(BM_QuantizeSite, awq, "awq", true)->UseRealTime();

}  // namespace
