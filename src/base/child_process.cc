// Starts a process with fork and exec, and reads its standard output without waiting.
#include "ptq/base/child_process.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// What shells report for a program that cannot be started.
constexpr int kNotStarted = 127;

std::string Reason() { return std::generic_category().message(errno); }

/// The child's side: only calls that are safe behind a fork of a process with threads.
[[noreturn]] void Become(char* const* words, int output, int log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kNotStarted);  // it ended before that took hold
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  for (const int each : {SIGINT, SIGTERM, SIGHUP}) std::signal(each, SIG_DFL);
  // A group of its own: Ctrl-C is for the parent, which tells it.
  ::setpgid(0, 0);
  ::execv(words[0], words);
  ::_exit(kNotStarted);
}

}  // namespace

std::filesystem::path OwnProgram() { return std::filesystem::read_symlink("/proc/self/exe"); }

ChildProcess::ChildProcess(const std::vector<std::string>& words,
                           const std::filesystem::path& log) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int messages = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (messages < 0) throw OutputError("cannot write '" + log.string() + "': " + Reason());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    ::close(messages);
    throw ResourceError("cannot start '" + words.front() + "': " + Reason());
  }
  const pid_t self = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) Become(arguments.data(), ends[1], messages, self);
  const int error = errno;
  ::close(ends[1]);
  ::close(messages);
  pipe_ = ends[0];
  if (pid_ < 0) {
    ::close(pipe_);
    errno = error;
    throw ResourceError("cannot start '" + words.front() + "': " + Reason());
  }
  ::fcntl(pipe_, F_SETFL, O_NONBLOCK);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(pipe_);
}

void ChildProcess::Read() {
  std::array<char, 1 << 16> part{};
  for (;;) {
    const ssize_t size = ::read(pipe_, part.data(), part.size());
    if (size <= 0 && !(size < 0 && errno == EINTR)) return;
    if (size > 0) output_.append(part.data(), size_t(size));
  }
}

bool ChildProcess::Poll() {
  if (pid_ <= 0) return true;
  Read();
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  Read();  // what it printed last
  pid_ = -1;
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return true;
}

void ChildProcess::Interrupt() {
  if (pid_ > 0) ::kill(pid_, SIGINT);
  while (!Poll()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

}  // namespace ptq
