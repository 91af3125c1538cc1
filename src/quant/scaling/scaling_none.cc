// The scaling "none": offers no candidate.
#include "pieces.h"

namespace ptq {

std::vector<ScalingCandidate> MakeNoScaling(const SiteProblem&) { return {}; }

}  // namespace ptq
