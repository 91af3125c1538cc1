// Ctrl-C as an error at the next safe place, so that nothing half-written is left behind.
#pragma once

namespace ptq {

/// Makes SIGINT, SIGTERM and (unless it is ignored, as under nohup) SIGHUP set a flag. The first
/// says at once on standard error that the program is stopping, if `speaks`; a second ends the
/// process at once. Writing beyond the limit of a file's size becomes an error. For the process
/// that the user started, once.
void WatchForInterrupt(bool speaks = true);

/// Throws Interrupted when a signal has come. Called between pieces of work that take well under a
/// second: every tile of a loop (ptq/base/parallel.h), every step of a model, every chunk of a
/// file. Any thread may call it.
void CheckInterrupt();

}  // namespace ptq
