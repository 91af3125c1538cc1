#include "ptq/base/interrupt.h"

#include <csignal>

#include "ptq/base/error.h"

namespace ptq {
namespace {

// A signal handler can reach nothing but a variable of static storage.
volatile std::sig_atomic_t interrupted = 0;

void Remember(int signal) {
  interrupted = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void WatchForInterrupt() {
  std::signal(SIGINT, Remember);
  std::signal(SIGTERM, Remember);
}

void CheckInterrupt() {
  if (interrupted != 0) throw Interrupted("interrupted; nothing was written");
}

}  // namespace ptq
