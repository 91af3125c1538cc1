// Determinants of stacks of matrices, computed in double: ai.onnx Det.
#include <Eigen/LU>

#include "ptq/base/parallel.h"
#include "ptq/ops/kernel.h"

namespace ptq {

/// ai.onnx Det: determinants of the square matrices in the last two dimensions.
std::unique_ptr<Kernel> MakeDet(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Tensor& x = context.input(0);
    if (x.rank() < 2 || x.dim(-1) != x.dim(-2)) {
      throw InputError("Det: square matrices are expected, found shape " + ToString(x.shape()));
    }
    using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const int64_t n = x.dim(-1);
    Tensor out(DType::kFloat32, Shape(x.shape().begin(), x.shape().end() - 2));
    const float* from = x.data<float>().data();
    float* to = out.mutable_data<float>().data();
    ParallelFor(out.size(), [&](int64_t i) {
      const Eigen::Map<const Matrix> matrix(from + i * n * n, n, n);
      to[i] = static_cast<float>(matrix.cast<double>().eval().determinant());
    });
    context.set_output(0, std::move(out));
  });
}

}  // namespace ptq
