// Where log lines and progress go, and how much of them there is.
#pragma once

#include <CLI/CLI.hpp>

#include "ptq/cli/command.h"

namespace ptq {

/// Sets up the log and the progress of this process, both on standard error. Once, at start-up.
void SetUpLogging(const GlobalOptions& global);

}  // namespace ptq
