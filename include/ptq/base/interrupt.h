// Ctrl-C as an error at the next safe place, so that nothing half-written is left behind.
#pragma once

namespace ptq {

/// Makes SIGINT and SIGTERM set a flag. A second signal ends the process at once.
void WatchForInterrupt();

/// Throws Interrupted when a signal has come. Called between pieces of work.
void CheckInterrupt();

}  // namespace ptq
