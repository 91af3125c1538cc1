// Running totals along an axis: ai.onnx CumSum, CumProd.
#include "arguments.h"
#include "array.h"

namespace ptq {
namespace {

/// The input as [outer, count, inner], and how the running value is taken along `count`.
struct Running {
  int64_t outer;
  int64_t count;
  int64_t inner;
  bool exclusive;  ///< an element's own value is left out
  bool reverse;
};

template <class T, class Combine>
void Run(const Running& run, const T* x, T* y, T start, const Combine& combine) {
  const int64_t step = run.reverse ? -run.inner : run.inner;
  const int64_t first = run.reverse ? (run.count - 1) * run.inner : 0;
  for (int64_t o = 0; o < run.outer; ++o) {
    for (int64_t i = 0; i < run.inner; ++i) {
      int64_t at = o * run.count * run.inner + i + first;
      T value = start;
      for (int64_t c = 0; c < run.count; ++c, at += step) {
        const T next = static_cast<T>(combine(value, x[at]));
        y[at] = run.exclusive ? value : next;
        value = next;
      }
    }
  }
}

template <class Combine>
std::unique_ptr<Kernel> MakeRunning(const Node& node, int start, Combine combine) {
  const bool exclusive = node.Int("exclusive", 0) != 0;
  const bool reverse = node.Int("reverse", 0) != 0;
  return MakeKernel([=](KernelContext& context) {
    const Tensor& x = context.input(0);
    const int64_t rank = x.rank();
    const int64_t axis = NormalizeAxis(ScalarInput(context, 1), rank);
    const Running run{NumElements(x.shape(), 0, axis), x.dim(axis),
                      NumElements(x.shape(), axis + 1, rank), exclusive, reverse};
    Tensor out(x.dtype(), x.shape());
    VisitNumber(x.dtype(), [&](auto tag) {
      using T = decltype(tag);
      Run<T>(run, x.data<T>().data(), out.mutable_data<T>().data(), static_cast<T>(start), combine);
    });
    context.set_output(0, std::move(out));
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeCumSum(const Node& node) {
  return MakeRunning(node, 0, [](auto a, auto b) { return a + b; });
}

std::unique_ptr<Kernel> MakeCumProd(const Node& node) {
  return MakeRunning(node, 1, [](auto a, auto b) { return a * b; });
}

}  // namespace ptq
