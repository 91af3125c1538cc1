// What a signal handler may do: write a line, and remember.
#include "ptq/base/interrupt.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <string_view>

#include <unistd.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
/// A terminal shows "^C" where the cursor was, perhaps behind a progress bar.
constexpr std::string_view kStopping =
    "\nstopping after the piece of work at hand; Ctrl-C again to quit now\n";

// A signal handler can reach nothing but variables of static storage.
std::atomic<bool> interrupted = false;
std::atomic<const char*> message = nullptr;
static_assert(std::atomic<bool>::is_always_lock_free);
static_assert(std::atomic<const char*>::is_always_lock_free);

void Remember(int) {
  const int saved = errno;
  interrupted = true;
  for (const int each : kSignals) std::signal(each, SIG_DFL);
  if (const char* const text = message; text != nullptr) {
    const ssize_t ignored = ::write(STDERR_FILENO, text, std::string_view(text).size());
    (void)ignored;
  }
  errno = saved;
}

/// A mapped file lost its end: nothing else raises this here. What was finished is in a checkpoint.
void EndOnLostFile(int) {
  static constexpr std::string_view kText =
      "quantize: a file was cut off or went away while it was read; start again when it is "
      "complete\n";
  const ssize_t ignored = ::write(STDERR_FILENO, kText.data(), kText.size());
  (void)ignored;
  ::_exit(int(ExitCode::kInput));
}

}  // namespace

void WatchForInterrupt(bool speaks) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk
  std::signal(SIGBUS, EndOnLostFile);
  if (speaks) message = kStopping.data() + (::isatty(STDERR_FILENO) != 0 ? 0 : 1);
  for (const int each : kSignals) {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = Remember;  // without SA_RESTART: a read that waits for others ends
    ::sigaction(each, &action, &before);
    if (each == SIGHUP && before.sa_handler == SIG_IGN) std::signal(each, SIG_IGN);
  }
}

void CheckInterrupt() {
  if (interrupted) throw Interrupted("interrupted");
}

}  // namespace ptq
