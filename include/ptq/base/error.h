// The one hierarchy of errors; each kind carries the process's documented exit status.
#pragma once

#include <stdexcept>
#include <string>

namespace ptq {

/// Exit statuses of the command line; part of its contract (docs/cli.md).
enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,       ///< a bug of this program
  kUsage = 2,          ///< wrong options
  kInput = 3,          ///< unreadable or malformed input
  kUnsupported = 4,    ///< a model or an operator this build cannot handle
  kOutput = 5,         ///< cannot write
  kResource = 6,       ///< out of memory or over the budget
  kQuality = 7,        ///< a quality gate or the verification failed
  kInterrupted = 130,  ///< by Ctrl-C, as shells report it
};

/// Base of every error thrown on purpose. The message is one line that says what, where, what to
/// do.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// An error with a fixed exit status.
template <ExitCode kCode>
class ErrorOf : public Error {
 public:
  explicit ErrorOf(const std::string& message) : Error(kCode, message) {}
};

using InternalError = ErrorOf<ExitCode::kInternal>;
using UsageError = ErrorOf<ExitCode::kUsage>;
using InputError = ErrorOf<ExitCode::kInput>;
using UnsupportedError = ErrorOf<ExitCode::kUnsupported>;
using OutputError = ErrorOf<ExitCode::kOutput>;
using ResourceError = ErrorOf<ExitCode::kResource>;
using QualityError = ErrorOf<ExitCode::kQuality>;
using Interrupted = ErrorOf<ExitCode::kInterrupted>;

}  // namespace ptq
