// A closed standard stream takes no place of a file's.
#include "ptq/base/standard_streams.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ptq {
namespace {

/// What a process that has closed `stream` finds there behind FillStandardStreams: 0 if all is
/// well.
int ChildWithout(int stream) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(stream);
    FillStandardStreams();
    char byte = 0;
    struct stat info {};
    if (::fstat(stream, &info) != 0 || !S_ISCHR(info.st_mode)) ::_exit(1);
    if (stream == STDIN_FILENO && ::read(stream, &byte, 1) >= 0) ::_exit(2);
    if (stream == STDOUT_FILENO && ::write(stream, &byte, 1) >= 0) ::_exit(3);
    if (stream == STDERR_FILENO && ::write(stream, &byte, 1) != 1) ::_exit(4);
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StandardStreamsTest, ClosedOnesAreTakenAndFailWhereTheyMatter) {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    EXPECT_EQ(ChildWithout(stream), 0) << "descriptor " << stream;
  }
}

TEST(StandardStreamsTest, OpenOnesStayWhatTheyAre) {
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(::fstat(STDOUT_FILENO, &before), 0);
  FillStandardStreams();
  ASSERT_EQ(::fstat(STDOUT_FILENO, &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

}  // namespace
}  // namespace ptq
