// Preloaded into the program by the tests of faults: counts system calls and lets the k-th fail.
//   PTQ_FAULT=OPERATIONS:K[+]:ACTION   OPERATIONS, joined by commas, as CallKind names them, or
//                                      `change` for all that change files; K from 1, `+`: all from
//                                      there on; ACTION: a number of errno, `kill`, `term`, `stop`,
//                                      `bus`
//   PTQ_FAULT_ROOT=DIRECTORY           only calls that concern files below it count
//   PTQ_FAULT_LOG=FILE                 gets a line for each call that counts
//   PTQ_FAULT_LEAST=BYTES              of memory: only requests of at least so much count
//   PTQ_FAULT_CLOCK=SECONDS            added to the time of day at every other question
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {
void* __libc_malloc(size_t);            // NOLINT: glibc's names
void* __libc_calloc(size_t, size_t);    // NOLINT
void* __libc_realloc(void*, size_t);    // NOLINT
void* __libc_memalign(size_t, size_t);  // NOLINT
}

namespace {

constexpr int kNoFault = 0;
constexpr int kKill = -SIGKILL;
constexpr int kTerminate = -SIGTERM;
constexpr int kStop = -SIGSTOP;
constexpr int kBus = -SIGBUS;

struct Fault {
  char operations[256] = {};
  long first = 0;
  bool sticky = false;
  int action = kNoFault;
  char root[PATH_MAX] = {};
  size_t least = 0;
  int log = -1;
  long clock = 0;
};

/// Read when the library is loaded, before there are threads.
Fault g_fault;  // NOLINT: preloaded code has no other place
std::atomic<long> g_calls{0};
std::atomic<bool> g_ready{false};

int ActionOf(std::string_view text) {
  if (text == "kill") return kKill;
  if (text == "term") return kTerminate;
  if (text == "stop") return kStop;
  if (text == "bus") return kBus;
  return std::atoi(text.data());
}

[[gnu::constructor]] void ReadEnvironment() {
  if (const char* root = std::getenv("PTQ_FAULT_ROOT")) {
    std::strncpy(g_fault.root, root, sizeof(g_fault.root) - 1);
  }
  if (const char* least = std::getenv("PTQ_FAULT_LEAST"))
    g_fault.least = std::strtoul(least, nullptr, 10);
  if (const char* clock = std::getenv("PTQ_FAULT_CLOCK")) g_fault.clock = std::atol(clock);
  if (const char* log = std::getenv("PTQ_FAULT_LOG")) {
    g_fault.log =
        int(::syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  }
  if (const char* text = std::getenv("PTQ_FAULT")) {
    char more[2] = {};
    char action[32] = {};
    const int parts = std::sscanf(text, "%254[^:]:%ld%1[+]:%31s", g_fault.operations + 1,
                                  &g_fault.first, more, action);
    if (parts != 4)
      std::sscanf(text, "%254[^:]:%ld:%31s", g_fault.operations + 1, &g_fault.first, action);
    g_fault.operations[0] = ',';
    std::strcat(g_fault.operations, ",");
    g_fault.sticky = parts == 4;
    g_fault.action = ActionOf(action);
  }
  g_ready = true;
}

bool IsBelowRoot(const char* path) {
  const size_t length = std::strlen(g_fault.root);
  return path != nullptr && length > 0 && std::strncmp(path, g_fault.root, length) == 0;
}

/// The name of an open file.
const char* NameOf(int fd, char (&name)[PATH_MAX]) {
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const auto size = ::syscall(SYS_readlink, link, name, sizeof(name) - 1);
  name[size < 0 ? 0 : size] = '\0';
  return name;
}

bool Concerns(const char* operation, bool changes) {
  char word[40];
  std::snprintf(word, sizeof(word), ",%s,", operation);
  return std::strstr(g_fault.operations, word) != nullptr ||
         (changes && std::strstr(g_fault.operations, ",change,") != nullptr);
}

/// What is to become of a call: 0, or the errno with which it fails.
int Judge(const char* operation, const char* path, bool changes, const char* to = "") {
  if (g_fault.log >= 0) {
    char line[2 * PATH_MAX + 64];
    const int size = std::snprintf(line, sizeof(line), "%s\t%s\t%s\n", operation, path, to);
    (void)::syscall(SYS_write, g_fault.log, line, size_t(size));
  }
  if (g_fault.action == kNoFault || !Concerns(operation, changes)) return kNoFault;
  const long call = ++g_calls;
  if (call != g_fault.first && !(g_fault.sticky && call > g_fault.first)) return kNoFault;
  if (g_fault.action < 0 && g_fault.action != kBus) {
    (void)::syscall(SYS_kill, ::getpid(), -g_fault.action);
    return kNoFault;
  }
  return g_fault.action;
}

int JudgePath(const char* operation, const char* path, bool changes, const char* to = "") {
  if (!g_ready || (!IsBelowRoot(path) && !IsBelowRoot(to))) return kNoFault;
  return Judge(operation, path, changes, to);
}

int JudgeFile(const char* operation, int fd, bool changes) {
  if (!g_ready || g_fault.root[0] == '\0') return kNoFault;
  char name[PATH_MAX];
  return JudgePath(operation, NameOf(fd, name), changes);
}

/// Of a path that is relative to an open directory.
int JudgeAt(const char* operation, int directory, const char* path, bool changes) {
  if (!g_ready || g_fault.root[0] == '\0') return kNoFault;
  if (directory == AT_FDCWD || path[0] == '/') return JudgePath(operation, path, changes);
  char name[PATH_MAX];
  char whole[2 * PATH_MAX];
  std::snprintf(whole, sizeof(whole), "%s/%s", NameOf(directory, name), path);
  return JudgePath(operation, whole, changes);
}

bool IsRefused(const char* operation, size_t bytes) {
  constexpr size_t kMost = 64 << 20;  // OpenBLAS waits for its buffers: a test of limits
  if (!g_ready || g_fault.least == 0 || bytes < g_fault.least || bytes > kMost) return false;
  return Judge(operation, "", false) > 0;
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

int Fail(int error) {
  errno = error;
  return -1;
}

int Open(int directory, const char* path, int flags, mode_t mode) {
  const bool changes = (flags & (O_CREAT | O_TRUNC)) != 0;
  if (const int error = JudgeAt(changes ? "create" : "open", directory, path, changes); error > 0) {
    return Fail(error);
  }
  return int(::syscall(SYS_openat, directory, path, flags, mode));
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode_t(va_arg(more, int)) : 0;
  va_end(more);
  return Open(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode_t(va_arg(more, int)) : 0;
  va_end(more);
  return Open(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode_t(va_arg(more, int)) : 0;
  va_end(more);
  return Open(directory, path, flags, mode);
}

/// A disk that fills up takes a part of what is written first.
ssize_t write(int fd, const void* data, size_t size) {
  const int error = JudgeFile("write", fd, true);
  if (error > 0 && (error != ENOSPC || size < 2)) return Fail(error);
  static std::atomic<bool> parted{false};
  if (error > 0) {
    if (parted.exchange(true)) return Fail(error);
    size /= 2;
  }
  return ::syscall(SYS_write, fd, data, size);
}

ssize_t copy_file_range(int in, off_t* from, int out, off_t* to, size_t size, unsigned flags) {
  if (const int error = JudgeFile("write", out, true); error > 0) return Fail(error);
  return ::syscall(SYS_copy_file_range, in, from, out, to, size, flags);
}

ssize_t sendfile(int out, int in, off_t* offset, size_t count) {
  if (const int error = JudgeFile("write", out, true); error > 0) return Fail(error);
  return ::syscall(SYS_sendfile, out, in, offset, count);
}
ssize_t sendfile64(int out, int in, off_t* offset, size_t count) {
  return sendfile(out, in, offset, count);
}

int ftruncate(int fd, off_t size) {
  if (const int error = JudgeFile("truncate", fd, true); error > 0) return Fail(error);
  return int(::syscall(SYS_ftruncate, fd, size));
}

int fsync(int fd) {
  if (const int error = JudgeFile("sync", fd, true); error > 0) return Fail(error);
  return int(::syscall(SYS_fsync, fd));
}

int close(int fd) {
  const int error = JudgeFile("close", fd, false);
  const long status = ::syscall(SYS_close, fd);
  return error > 0 ? Fail(error) : int(status);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) {
  if (const int error = JudgePath("rename", from, true, to); error > 0) return Fail(error);
  return int(::syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
}
int rename(const char* from, const char* to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdir(const char* path, mode_t mode) {
  if (const int error = JudgePath("mkdir", path, true); error > 0) return Fail(error);
  return int(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int unlinkat(int directory, const char* path, int flags) {
  if (const int error = JudgeAt("remove", directory, path, true); error > 0) return Fail(error);
  return int(::syscall(SYS_unlinkat, directory, path, flags));
}
int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char* path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) {
  const int status = unlink(path);
  return status != 0 && errno == EISDIR ? rmdir(path) : status;
}

ssize_t read(int fd, void* data, size_t size) {
  if (const int error = JudgeFile("read", fd, false); error > 0) return Fail(error);
  return ::syscall(SYS_read, fd, data, size);
}
ssize_t pread(int fd, void* data, size_t size, off_t at) {
  if (const int error = JudgeFile("read", fd, false); error > 0) return Fail(error);
  return ::syscall(SYS_pread64, fd, data, size, at);
}

/// `bus`: the pages are there, but the disk does not give what they hold, which ends in SIGBUS.
void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  int error = 0;
  if ((flags & MAP_ANONYMOUS) != 0) {
    if (IsRefused("memory", size)) error = ENOMEM;
  } else {
    error = JudgeFile("map", fd, false);
  }
  if (error > 0) {
    errno = error;
    return MAP_FAILED;
  }
  if (error == kBus) {
    fd = int(::syscall(SYS_memfd_create, "nothing", 0U));
    offset = 0;
  }
  return reinterpret_cast<void*>(
      ::syscall(SYS_mmap, at, size, protection, flags, fd, offset));  // NOLINT: the kernel's answer
}
void* mmap64(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  return mmap(at, size, protection, flags, fd, offset);
}

void* malloc(size_t size) {
  if (IsRefused("memory", size)) return errno = ENOMEM, nullptr;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  if (IsRefused("memory", count * size)) return errno = ENOMEM, nullptr;
  return __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) {
  if (IsRefused("memory", size)) return errno = ENOMEM, nullptr;
  return __libc_realloc(block, size);
}
int posix_memalign(void** block, size_t alignment, size_t size) {
  if (IsRefused("memory", size)) return ENOMEM;
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}
void* aligned_alloc(size_t alignment, size_t size) {
  if (IsRefused("memory", size)) return errno = ENOMEM, nullptr;
  return __libc_memalign(alignment, size);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  if (g_ready && Judge("thread", "", false) > 0) return EAGAIN;
  static auto* const next =
      Next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  return next(thread, attributes, start, argument);
}

/// A machine whose clock is set back and forth while the program runs.
int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long status = ::syscall(SYS_clock_gettime, clock, time);
  static std::atomic<long> asked{0};
  if (clock == CLOCK_REALTIME && g_fault.clock != 0 && (++asked & 1) != 0) {
    time->tv_sec += g_fault.clock;
  }
  return int(status);
}

}  // extern "C"
