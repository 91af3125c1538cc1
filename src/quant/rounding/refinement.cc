// Alternates coordinate descent over the codes with a fit of the scales.
#include "refinement.h"

#include <memory>

#include "descent.h"
#include "scaling/scale_fit.h"

namespace ptq {
namespace {

/// Sweeps over all codes between two fits of the scales.
constexpr int kRefinementSweeps = 2;

}  // namespace

std::function<void(const RowBlock&)> MakeRefinement(const GramView& gram, int rounds) {
  if (rounds <= 0) return nullptr;
  const auto descent = std::make_shared<const Descent>(gram);
  return [descent, rounds, &gram](const RowBlock& block) {
    descent->Run(block, kRefinementSweeps);
    for (int round = 0; round < rounds; ++round) {
      FitScales(gram, block);
      descent->Run(block, kRefinementSweeps);
    }
  };
}

}  // namespace ptq
