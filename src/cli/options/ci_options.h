// The options of commands that leave files for CI.
#pragma once

#include <CLI/CLI.hpp>

#include "ptq/report/ci.h"

namespace ptq {

/// Adds --metrics, --junit and --github-summary; `files` must outlive the app.
void AddCiOptions(CLI::App& app, CiFiles& files);

}  // namespace ptq
