// Matrix products: ai.onnx MatMul and Gemm; com.microsoft FusedMatMul, TransposeMatMul, FusedGemm.
#include "array.h"
#include "broadcast.h"
#include "fused_activation.h"
#include "matmul_core.h"

#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

std::unique_ptr<Kernel> MakeMatMulWith(const MatMulOptions& options) {
  return MakeKernel([options](KernelContext& context) {
    context.set_output(0, MatMul(context.input(0), context.input(1), options));
  });
}

struct GemmAttributes {
  float alpha;
  float beta;
  bool transpose_a;
  bool transpose_b;
};

/// The [m, n] result filled with C, which broadcasts to it.
template <class T>
Tensor BroadcastAddend(const Tensor& c, int64_t m, int64_t n) {
  const Shape shape = {m, n};
  const auto plan = PlanBroadcast<2>({&shape, &c.shape()});
  if (plan.shape != shape) {
    throw InputError("addend of shape " + ToString(c.shape()) + " does not broadcast to " +
                     ToString(shape));
  }
  Tensor out(kDTypeOf<T>, shape);
  T* to = out.mutable_data<T>().data();
  const T* from = c.data<T>().data();
  const int64_t step = plan.strides.back()[1];
  ForEachRun(plan, [&](int64_t at, const std::array<int64_t, 2>& offsets, int64_t count) {
    if (step != 0) {
      std::copy_n(from + offsets[1], count, to + at);
    } else {
      std::fill_n(to + at, count, from[offsets[1]]);
    }
  });
  return out;
}

Tensor RunFloatGemm(const KernelContext& context, const GemmAttributes& attributes) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  if (a.rank() != 2 || b.rank() != 2) throw InputError("Gemm needs two matrices");
  const MatrixView left{a.data<float>().data(), a.dim(0), a.dim(1), std::max<int64_t>(1, a.dim(1)),
                        attributes.transpose_a};
  const MatrixView right{b.data<float>().data(), b.dim(0), b.dim(1), std::max<int64_t>(1, b.dim(1)),
                         attributes.transpose_b};
  const int64_t m = a.dim(attributes.transpose_a ? 1 : 0);
  const int64_t k = a.dim(attributes.transpose_a ? 0 : 1);
  const int64_t n = b.dim(attributes.transpose_b ? 0 : 1);
  if (b.dim(attributes.transpose_b ? 1 : 0) != k) {
    throw InputError("shapes " + ToString(a.shape()) + " and " + ToString(b.shape()) +
                     " do not fit in Gemm");
  }
  const bool adds = context.has_input(2) && attributes.beta != 0.0f;
  Tensor out =
      adds ? BroadcastAddend<float>(context.input(2), m, n) : Tensor(DType::kFloat32, {m, n});
  float* to = out.mutable_data<float>().data();
  if (!adds && k == 0) std::fill_n(to, out.size(), 0.0f);
  Gemm(attributes.alpha, left, right, adds ? attributes.beta : 0.0f, to, n);
  return out;
}

template <class T>
Tensor RunIntegerGemm(const KernelContext& context, const GemmAttributes& attributes) {
  const auto transposed = [](const Tensor& x, bool transpose) {
    if (!transpose) return x;
    const int64_t rows = x.dim(0);
    const int64_t cols = x.dim(1);
    Tensor out(x.dtype(), {cols, rows});
    const auto from = x.data<T>();
    const auto to = out.mutable_data<T>();
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) to[size_t(c * rows + r)] = from[size_t(r * cols + c)];
    }
    return out;
  };
  Tensor out = IntegerMatMul<T>(transposed(context.input(0), attributes.transpose_a),
                                transposed(context.input(1), attributes.transpose_b));
  const auto to = out.mutable_data<T>();
  const Tensor addend = context.has_input(2)
                            ? BroadcastAddend<T>(context.input(2), out.dim(0), out.dim(1))
                            : Tensor::Filled<T>(out.shape(), T{0});
  const auto c = addend.data<T>();
  for (size_t i = 0; i < to.size(); ++i) {
    to[i] = static_cast<T>(attributes.alpha * static_cast<double>(to[i]) +
                           attributes.beta * static_cast<double>(c[i]));
  }
  return out;
}

GemmAttributes ReadGemmAttributes(const Node& node) {
  return {node.Float("alpha", 1.0f), node.Float("beta", 1.0f), node.Int("transA", 0) != 0,
          node.Int("transB", 0) != 0};
}

}  // namespace

std::unique_ptr<Kernel> MakeMatMul(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Tensor& a = context.input(0);
    const Tensor& b = context.input(1);
    if (a.dtype() != b.dtype()) throw InputError("the two operands have different element types");
    if (a.dtype() == DType::kFloat32) {
      context.set_output(0, MatMul(a, b));
      return;
    }
    VisitTypes<int32_t, int64_t, uint32_t, uint64_t>(
        a.dtype(), [&](auto tag) { context.set_output(0, IntegerMatMul<decltype(tag)>(a, b)); });
  });
}

std::unique_ptr<Kernel> MakeFusedMatMul(const Node& node) {
  MatMulOptions options;
  options.alpha = node.Float("alpha", 1.0f);
  options.transpose_a = node.Int("transA", 0) != 0;
  options.transpose_b = node.Int("transB", 0) != 0;
  options.first_is_row_a = node.Int("transBatchA", 0) != 0;
  options.first_is_row_b = node.Int("transBatchB", 0) != 0;
  return MakeMatMulWith(options);
}

std::unique_ptr<Kernel> MakeGemm(const Node& node) {
  const GemmAttributes attributes = ReadGemmAttributes(node);
  return MakeKernel([attributes](KernelContext& context) {
    const DType dtype = context.input(0).dtype();
    if (dtype == DType::kFloat32) {
      context.set_output(0, RunFloatGemm(context, attributes));
      return;
    }
    VisitTypes<int32_t, int64_t, uint32_t, uint64_t>(dtype, [&](auto tag) {
      context.set_output(0, RunIntegerGemm<decltype(tag)>(context, attributes));
    });
  });
}

std::unique_ptr<Kernel> MakeFusedGemm(const Node& node) {
  const GemmAttributes attributes = ReadGemmAttributes(node);
  const FloatFunction activation = ReadActivation(node);
  return MakeKernel([attributes, activation](KernelContext& context) {
    Tensor out = RunFloatGemm(context, attributes);
    Apply(activation, out);
    context.set_output(0, std::move(out));
  });
}

}  // namespace ptq
