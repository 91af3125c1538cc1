// Products and Gram matrices as calibration runs them, in GFLOP/s.
#include <vector>

#include <benchmark/benchmark.h>

#include "ptq/base/parallel.h"
#include "ptq/tensor/gemm.h"

namespace {

constexpr int64_t kTokens = 512;

void SetGflops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_Gemm(benchmark::State& state) {
  const ptq::ThreadLimit limit(0);
  const int64_t k = state.range(0), n = state.range(1);
  const std::vector<float> a(size_t(kTokens * k), 0.5f), b(size_t(k * n), 0.25f);
  std::vector<float> c(size_t(kTokens * n));
  for ([[maybe_unused]] auto _ : state) {
    ptq::Gemm(1.0f, {a.data(), kTokens, k, k}, {b.data(), k, n, n}, 0.0f, c.data(), n);
    benchmark::ClobberMemory();
  }
  SetGflops(state, 2.0 * double(kTokens * k * n));
}
BENCHMARK(BM_Gemm)->Args({384, 384})->Args({1024, 3072})->Args({4096, 11008})->UseRealTime();

void BM_AccumulateGram(benchmark::State& state) {
  const ptq::ThreadLimit limit(0);
  const int64_t k = state.range(0);
  const std::vector<float> x(size_t(kTokens * k), 0.5f);
  std::vector<float> gram(size_t(k * k));
  const std::vector<std::span<const float>> parts(4, x);
  for ([[maybe_unused]] auto _ : state) {
    ptq::AccumulateGram(parts, k, gram.data());
    benchmark::ClobberMemory();
  }
  SetGflops(state, double(parts.size()) * double(kTokens * k * (k + 1)));
}
BENCHMARK(BM_AccumulateGram)->Arg(384)->Arg(1024)->Arg(4096)->UseRealTime();

}  // namespace
