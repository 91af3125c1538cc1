// Another program that runs beside this one: its words in, what it prints and its status out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

namespace ptq {

/// The file of the program that runs now, also when it was found on the search path.
[[nodiscard]] std::filesystem::path OwnProgram();

/// A process whose standard output goes into memory and whose standard error goes into a file. It
/// is killed with this object, and when this process ends in whatever way. Used by one thread, the
/// one that drives the work.
class ChildProcess {
 public:
  /// `words`: the program and what follows it; `log`: file for its messages, truncated. Throws
  /// OutputError for a log that cannot be written, ResourceError when no process can be started.
  ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& log);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Takes what it has printed; whether it has ended. Does not wait.
  bool Poll();
  /// Sends SIGINT, and waits until it has ended.
  void Interrupt();

  /// Behind a Poll that said so: the exit status, or 128 and the signal that ended it.
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] const std::string& output() const { return output_; }

 private:
  void Read();
  pid_t pid_ = -1;
  int pipe_ = -1;
  int status_ = -1;
  std::string output_;
};

}  // namespace ptq
