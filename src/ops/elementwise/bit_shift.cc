// Shifts of unsigned integers with broadcasting: ai.onnx BitShift.
#include <string>

#include "broadcast.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

template <class T>
T Shift(T value, T count, bool left) {
  // C++ does not define shifts by the whole width or more.
  if (count >= 8 * sizeof(T)) return T{0};
  return static_cast<T>(left ? value << count : value >> count);
}

}  // namespace

/// ai.onnx BitShift, of unsigned integers.
std::unique_ptr<Kernel> MakeBitShift(const Node& node) {
  const std::string direction = node.String("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") {
    throw InputError("BitShift: the direction must be LEFT or RIGHT");
  }
  return MakeKernel([left = direction == "LEFT"](KernelContext& context) {
    VisitTypes<uint8_t, uint16_t, uint32_t, uint64_t>(context.input(0).dtype(), [&](auto zero) {
      using T = decltype(zero);
      RunElements<T>(context, [left](T x, T y) { return Shift<T>(x, y, left); });
    });
  });
}

}  // namespace ptq
