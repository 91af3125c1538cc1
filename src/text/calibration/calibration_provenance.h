// What is written of the samples.
#pragma once

#include "ptq/text/calibration.h"

namespace ptq {

/// Fills in what the provenance says of a set's samples: their number, tokens, lengths and hash.
void CountSamples(CalibrationSet& set);

}  // namespace ptq
