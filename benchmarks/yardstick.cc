// What this machine does at best, to compare whole runs with. Reads from standard input
//   gemm N K COUNT      a product [rows, K] x [K, N], done COUNT times for every token
// and prints one line of JSON: the seconds that the matrix library, with all its threads, takes for
// all of them, and the bandwidth of reading FP16 as FP32 with all threads.
//   yardstick TOKENS [THREADS]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <cblas.h>

#include "ptq/base/half.h"
#include "ptq/base/parallel.h"

namespace {

/// Rows of the products that are timed; the time is proportional beyond that.
constexpr int kRows = 2048;
constexpr int kRepeats = 5;
constexpr int64_t kHalves = int64_t{64} << 20;

double Seconds(const auto& body) {
  double least = 1e300;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    least = std::min(least, taken.count());
  }
  return least;
}

double GemmSeconds(int n, int k) {
  const std::vector<float> a(size_t(kRows) * size_t(k), 0.5f);
  const std::vector<float> b(size_t(k) * size_t(n), 0.25f);
  std::vector<float> c(size_t(kRows) * size_t(n));
  return Seconds([&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kRows, n, k, 1.0f, a.data(), k, b.data(),
                n, 0.0f, c.data(), n);
  });
}

/// Bytes of FP16 read a second when all threads widen it.
double WidenBandwidth() {
  const std::vector<ptq::Half> from(size_t{kHalves}, ptq::Half{0x3c00});
  std::vector<float> to(from.size());
  const double seconds = Seconds([&] {
    ptq::ParallelForTiles(kHalves, 1 << 16, [&](int64_t begin, int64_t end) {
      ptq::Convert(std::span(from).subspan(size_t(begin), size_t(end - begin)),
                   std::span(to).subspan(size_t(begin), size_t(end - begin)));
    });
  });
  return double(kHalves * 2) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const double tokens = argc > 1 ? std::atof(argv[1]) : 1.0;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 0;
  double bandwidth = 0;
  int used = 0;
  {
    const ptq::ThreadLimit limit(threads);
    used = limit.threads();
    bandwidth = WidenBandwidth();
  }
  openblas_set_num_threads(used);
  double seconds = 0, flops = 0;
  std::string word;
  int n = 0, k = 0;
  double count = 0;
  while (std::cin >> word >> n >> k >> count) {
    seconds += GemmSeconds(n, k) / kRows * tokens * count;
    flops += 2.0 * n * k * tokens * count;
  }
  std::cout << "{\"threads\": " << used << ", \"kernels\": \"" << openblas_get_corename()
            << "\", \"gemm_seconds\": " << seconds
            << ", \"gemm_gflops\": " << (seconds > 0 ? flops / seconds / 1e9 : 0)
            << ", \"widen_bytes_per_second\": " << bandwidth << "}\n";
  return 0;
}
