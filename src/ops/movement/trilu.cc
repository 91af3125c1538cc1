// Triangles of matrices, the other elements cleared in place: ai.onnx Trilu.
#include <algorithm>

#include "arguments.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Clears the elements of each matrix below (upper) or above (lower) its diagonal k, in place.
void ClearTriangle(Tensor& data, bool upper, int64_t k) {
  const int64_t rows = data.dim(-2);
  const int64_t columns = data.dim(-1);
  VisitWidth(ElementBytes(data.dtype()), [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    T* values = reinterpret_cast<T*>(data.mutable_bytes().data());
    for (int64_t begin = 0; begin < data.size(); begin += rows * columns) {
      for (int64_t row = 0; row < rows; ++row) {
        T* line = values + begin + row * columns;
        // Clamped before adding: k may be any 64-bit number.
        const int64_t diagonal = row + std::clamp(k, -rows - 1, columns + 1);
        if (upper) {
          std::fill_n(line, std::clamp<int64_t>(diagonal, 0, columns), T{0});
        } else {
          const int64_t kept = std::clamp<int64_t>(diagonal + 1, 0, columns);
          std::fill_n(line + kept, columns - kept, T{0});
        }
      }
    }
  });
}

}  // namespace

/// ai.onnx Trilu, over the last two axes.
std::unique_ptr<Kernel> MakeTrilu(const Node& node) {
  return MakeKernel([upper = node.Int("upper", 1) != 0](KernelContext& context) {
    const int64_t k = context.has_input(1) ? ScalarInput(context, 1) : 0;
    Tensor data = context.TakeInput(0);
    if (data.rank() < 2) throw InputError("Trilu: the input must have two dimensions or more");
    if (data.size() > 0) ClearTriangle(data, upper, k);
    context.set_output(0, std::move(data));
  });
}

}  // namespace ptq
