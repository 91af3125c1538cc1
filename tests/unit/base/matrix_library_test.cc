// A library that would wait for memory forever is asked for it when it can be told.
#include "ptq/base/matrix_library.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// 0: there was room, 6: there was none.
int ChildWithLimit(int64_t bytes, int64_t threads) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit = {rlim_t(bytes), rlim_t(bytes)};
    ::setrlimit(RLIMIT_AS, &limit);
    try {
      ReserveMatrixLibrary(threads);
      ::_exit(0);
    } catch (const ResourceError&) {
      ::_exit(6);
    }
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(MatrixLibraryTest, ALimitThatLeavesNoRoomIsToldInsteadOfWaitedFor) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer reserves terabytes of addresses";
#endif
  EXPECT_EQ(ChildWithLimit(int64_t{64} << 30, 2), 0);
  EXPECT_EQ(ChildWithLimit(int64_t{64} << 20, 2), 6);
  EXPECT_EQ(ChildWithLimit(int64_t{16} << 30, 1 << 20), 6);
}

}  // namespace
}  // namespace ptq
