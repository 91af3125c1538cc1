// The rounding "descent": coordinate descent from the nearest codes.
#include <memory>

#include "descent.h"
#include "pieces.h"

namespace ptq {
namespace {

constexpr int kDescentSweeps = 6;

}  // namespace

/// From the nearest codes; no factorisation.
Rounding MakeDescentRounding(const GramView& gram) {
  const auto descent = std::make_shared<const Descent>(gram);
  return [descent, nearest = MakeNearestRounding(gram)](const RowBlock& block) {
    nearest(block);
    descent->Run(block, kDescentSweeps);
  };
}

}  // namespace ptq
