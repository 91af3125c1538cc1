// Makes OpenBLAS allocate its buffers while it can be seen whether there is room for them.
#include "ptq/base/matrix_library.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/format.h"

// Of OpenBLAS (driver/others/memory.c), which every call of a product goes through. Exported,
// though no header of its names them.
extern "C" {
void* blas_memory_alloc(int position);
void blas_memory_free(void* buffer);
}

namespace ptq {

void ReserveMatrixLibrary(int64_t threads) {
  const auto bytes = size_t(threads * kMatrixLibraryReserve);
  void* const room =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) {
    throw ResourceError("a limit on this process (ulimit -v or -d) leaves no room for the " +
                        FormatBytes(int64_t(bytes)) + " of addresses that --threads " +
                        std::to_string(threads) + " needs; lower that, or raise the limit");
  }
  ::munmap(room, bytes);
  std::vector<void*> buffers;
  for (int64_t i = 0; i < threads; ++i) buffers.push_back(blas_memory_alloc(0));
  for (void* const buffer : buffers) blas_memory_free(buffer);
}

void LoadWithoutIdleThreads(char** argv) {
  constexpr char kThreads[] = "OPENBLAS_NUM_THREADS";
  if (std::getenv(kThreads) != nullptr) return;
  const bool limited = std::ranges::any_of(std::array{RLIMIT_AS, RLIMIT_DATA}, [](auto resource) {
    rlimit limit{};
    return ::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  });
  if (limited && ::setenv(kThreads, "1", 0) == 0) (void)::execv("/proc/self/exe", argv);
}

}  // namespace ptq
