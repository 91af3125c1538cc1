// Whether floats of quantized weights stay in the file, and what that costs.
#pragma once

#include <string>
#include <vector>

#include "ptq/calibrate/source.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// A sentence for each quantized weight whose floats stay beside its codes, because nodes other
/// than quantized products read them: a table tied to the LM head, above all.
[[nodiscard]] std::vector<std::string> FloatCopyNotes(const Source& source, const Plan& plan);

}  // namespace ptq
