// What moves and converts bytes: widening of weights, activations on a cut, packing. In GB/s.
#include <filesystem>
#include <vector>

#include "emit/bit_packing.h"
#include <benchmark/benchmark.h>

#include "ptq/base/half.h"
#include "ptq/base/parallel.h"
#include "ptq/calibrate/cut_store.h"
#include "ptq/tensor/transpose.h"

namespace {

constexpr size_t kCount = size_t{1} << 20;

void BM_WidenHalf(benchmark::State& state) {
  const std::vector<ptq::Half> from(kCount, ptq::Half{0x3c00});
  std::vector<float> to(kCount);
  for ([[maybe_unused]] auto _ : state) {
    ptq::Convert(from, to);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * int64_t(kCount * sizeof(ptq::Half)));
}
BENCHMARK(BM_WidenHalf);

void BM_CutStore(benchmark::State& state) {
  ptq::CutStore cuts(1, int64_t{1} << 30, std::filesystem::temp_directory_path());
  const ptq::Values values = {{0, ptq::Tensor::Filled<float>({int64_t{kCount}}, 0.5f)}};
  for ([[maybe_unused]] auto _ : state) {
    cuts.Put(0, values);
    benchmark::DoNotOptimize(cuts.Get(0));
  }
  state.SetBytesProcessed(state.iterations() * int64_t(kCount * sizeof(float)));
}
BENCHMARK(BM_CutStore);

void BM_PackBits(benchmark::State& state) {
  const std::vector<uint8_t> codes(kCount, 3);
  std::vector<std::byte> out(kCount);
  for ([[maybe_unused]] auto _ : state) {
    ptq::PackBits(codes, int(state.range(0)), out.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * int64_t(kCount));
}
BENCHMARK(BM_PackBits)->Arg(2)->Arg(4)->Arg(8);

void BM_Transpose(benchmark::State& state) {
  const std::vector<float> from(kCount * 3, 0.5f);
  std::vector<float> to(from.size());
  for ([[maybe_unused]] auto _ : state) {
    ptq::TransposePart(from.data(), 3072, 1024, 3072, to.data(), 1024);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * int64_t(from.size() * sizeof(float)));
}
BENCHMARK(BM_Transpose)->UseRealTime();

}  // namespace
