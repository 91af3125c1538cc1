// What a user is told of an error, whoever threw it.
#pragma once

#include <exception>
#include <string>

#include "ptq/base/error.h"

namespace ptq {

/// How a command ends.
struct Ending {
  ExitCode code = ExitCode::kInternal;
  std::string text;
};

/// Errors of this program say themselves what, where and what to do. Those of libraries that an
/// input provokes (JSON of another form, paths that lead nowhere, lengths that no machine has)
/// become the status of their kind without the library's own words; any other is a bug.
[[nodiscard]] Ending DescribeError(const std::exception_ptr& error);

/// Writes what is left of standard output. Throws OutputError where that, or what was printed
/// before, did not get through.
void FinishOutput();

}  // namespace ptq
