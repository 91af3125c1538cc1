// Asks /proc and glibc's allocator what is held.
#include "ptq/base/memory.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <new>
#include <sstream>
#include <string>

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "ptq/base/matrix_library.h"
#include "ptq/base/parallel.h"

namespace ptq {

namespace {

/// A line of the process's status, "NAME: N kB", in bytes; 0 without one.
int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name, 0) == 0) return std::stoll(line.substr(name.size())) * 1024;
  }
  return 0;
}

}  // namespace

int64_t PeakResidentBytes() { return StatusBytes("VmHWM:"); }

int64_t ResidentBytes() {
  ReleaseFreeMemory();
  return StatusBytes("VmRSS:");
}

int64_t MatrixLibraryBytes() {
  // Packed parts of both operands, in tiles of at most 1024 columns (tensor/gemm.cc).
  constexpr int64_t kEachThread = 4 << 20;
  return ActiveThreads() * kEachThread;
}

int64_t PeakResidentBytes(Ranks& ranks) {
  int64_t bytes = PeakResidentBytes();
  ranks.Max(std::span(&bytes, 1), 0);
  return bytes;
}

int64_t PhysicalBytes() {
  const int64_t pages = ::sysconf(_SC_PHYS_PAGES);
  return pages > 0 ? pages * ::sysconf(_SC_PAGESIZE) : 0;
}

void KeepFreedMemory() {
  // The largest block that glibc lets come from its heap, and twice that, as it does by itself.
  constexpr int kLargest = 32 << 20;
  (void)::mallopt(M_MMAP_THRESHOLD, kLargest);
  (void)::mallopt(M_TRIM_THRESHOLD, 2 * kLargest);
}

void LimitMemory() {
#ifndef __SANITIZE_ADDRESS__  // which reserves terabytes
  struct sysinfo info {};
  if (::sysinfo(&info) != 0) return;
  uint64_t bytes = uint64_t(info.totalram + info.totalswap) * info.mem_unit;
  for (const char* name :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    uint64_t limit = 0;
    if (std::ifstream(name) >> limit && limit > 0) bytes = std::min(bytes, limit);
  }
  // Addresses count, and not only memory: those of the threads that the library has started, and
  // of ours.
  bytes += 2 * uint64_t(::sysconf(_SC_NPROCESSORS_ONLN) * kMatrixLibraryReserve);
  rlimit limit{};
  if (::getrlimit(RLIMIT_DATA, &limit) != 0 || bytes >= limit.rlim_cur) return;
  limit.rlim_cur = bytes;
  (void)::setrlimit(RLIMIT_DATA, &limit);
#endif
}

void ReleaseFreeMemory(int64_t keep) {
  if (static_cast<int64_t>(::mallinfo2().fordblks) > keep) ::malloc_trim(0);
}

namespace {
/// Below this, pages would be filled badly, and there may be more pieces than a process may map.
constexpr size_t kOwnPages = 64 << 10;
}  // namespace

std::byte* LongLived::allocate(size_t count) {
  if (count < kOwnPages) return std::allocator<std::byte>().allocate(count);
  void* pages = ::mmap(nullptr, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(pages);
}

void LongLived::deallocate(std::byte* bytes, size_t count) noexcept {
  if (count < kOwnPages) {
    std::allocator<std::byte>().deallocate(bytes, count);
  } else {
    ::munmap(bytes, count);
  }
}

}  // namespace ptq
