// Says what the files of a result will measure.
#pragma once

#include "run_context.h"

namespace ptq {

/// Fills in the report's predicted sizes, and accounts for them. Throws what a run throws because
/// its result cannot be written, UnsupportedError for most of it.
void PredictFiles(const Source& source, const Recipe& recipe, const RunContext& context,
                  RunReport& report);

}  // namespace ptq
