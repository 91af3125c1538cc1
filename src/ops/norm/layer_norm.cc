// Normalisation of the last dimensions: LayerNormalization, its root-mean-square forms and the
// fused com.microsoft variants that add a residual first.
#include <cmath>

#include "array.h"
#include "norm_rows.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Shape of the saved statistics: the leading dimensions, then ones.
Shape StatisticsShape(const Shape& shape, int64_t axis) {
  Shape result = shape;
  for (size_t d = static_cast<size_t>(axis); d < result.size(); ++d) result[d] = 1;
  return result;
}

/// Normalises x over its dimensions from `axis`; outputs 1 and 2 as far as they are asked for.
/// `mean_output` or `deviation_output` is -1 when the operator has no such output.
void RunNorm(KernelContext& context, int64_t axis_attribute, NormSpec spec, int mean_output,
             int deviation_output) {
  const Tensor& x = context.input(0);
  const int64_t axis = NormalizeAxis(axis_attribute, x.rank());
  const Shape shape = x.shape();
  const NormParameter scale = ReadNormParameter(context.input(1), shape, axis);
  NormParameter bias;
  if (spec.centered && context.has_input(2)) {
    bias = ReadNormParameter(context.input(2), shape, axis);
  }
  const auto statistics = [&](int output) {
    const bool wanted = output >= 0 && context.wants(static_cast<size_t>(output));
    return wanted ? Tensor(DType::kFloat32, StatisticsShape(shape, axis)) : Tensor();
  };
  Tensor mean = statistics(mean_output);
  Tensor deviation = statistics(deviation_output);
  const float* from = x.data<float>().data();
  const int64_t rows = NumElements(shape, 0, axis);
  const int64_t width = NumElements(shape, axis, static_cast<int64_t>(shape.size()));
  Tensor y = ReuseInput(context, 0, DType::kFloat32, shape);
  NormalizeRows(spec, from, rows, width, scale, bias, y.mutable_data<float>().data(),
                mean.defined() ? mean.mutable_data<float>().data() : nullptr,
                deviation.defined() ? deviation.mutable_data<float>().data() : nullptr);
  context.set_output(0, std::move(y));
  if (mean.defined()) context.set_output(static_cast<size_t>(mean_output), std::move(mean));
  if (deviation.defined()) {
    context.set_output(static_cast<size_t>(deviation_output), std::move(deviation));
  }
}

/// s = input + skip (+ bias), with skip repeated over the batch where it has fewer elements.
Tensor SkipSum(KernelContext& context, size_t bias_input) {
  const Shape shape = context.input(0).shape();
  const Tensor skip = context.input(1);
  const int64_t size = context.input(0).size();
  const int64_t period = skip.size();
  if (size != 0 && (period == 0 || size % period != 0)) {
    throw InputError("skip of shape " + ToString(skip.shape()) + " does not fit the input " +
                     ToString(shape));
  }
  Tensor bias = context.has_input(bias_input) ? context.input(bias_input) : Tensor();
  const int64_t width = shape.empty() ? 1 : shape.back();
  if (bias.defined() && bias.size() != width) {
    throw InputError("bias has shape " + ToString(bias.shape()) + ", expected [" +
                     std::to_string(width) + "]");
  }
  if (width > 0 && period % width != 0) {
    throw InputError("skip of shape " + ToString(skip.shape()) + " does not hold whole rows");
  }
  const float* input = context.input(0).data<float>().data();
  Tensor sum = ReuseInput(context, 0, DType::kFloat32, shape);
  float* out = sum.mutable_data<float>().data();
  const float* added = skip.data<float>().data();
  const float* offset = bias.defined() ? bias.data<float>().data() : nullptr;
  if (width == 0) return sum;
  const int64_t grain = std::max<int64_t>(1, kElementTile / width);
  ParallelForTiles(size / width, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const ConstArrayMap<float> a(input + row * width, width);
      const ConstArrayMap<float> b(added + (row * width) % period, width);
      ArrayMap<float> to(out + row * width, width);
      if (offset != nullptr) {
        to = a + b + ConstArrayMap<float>(offset, width);
      } else {
        to = a + b;
      }
    }
  });
  return sum;
}

/// Inputs (input, skip, gamma, [beta,] bias); outputs (norm, mean, deviation, sum).
void RunSkipNorm(KernelContext& context, NormSpec spec) {
  const size_t bias_input = spec.centered ? 4 : 3;
  const Tensor gamma = context.input(2);
  const Tensor beta = spec.centered && context.has_input(3) ? context.input(3) : Tensor();
  Tensor sum = SkipSum(context, bias_input);
  const Shape shape = sum.shape();
  const int64_t axis = NormalizeAxis(-1, sum.rank());
  const NormParameter scale = ReadNormParameter(gamma, shape, axis);
  const NormParameter offset =
      beta.defined() ? ReadNormParameter(beta, shape, axis) : NormParameter();
  Tensor mean = context.wants(1) ? Tensor(DType::kFloat32, StatisticsShape(shape, axis)) : Tensor();
  Tensor deviation =
      context.wants(2) ? Tensor(DType::kFloat32, StatisticsShape(shape, axis)) : Tensor();
  const float* from = sum.data<float>().data();
  const int64_t width = sum.dim(-1);
  const int64_t rows = NumElements(shape, 0, axis);
  const bool keep = context.wants(3);
  Tensor y = keep ? Tensor(DType::kFloat32, shape) : std::move(sum);
  NormalizeRows(spec, from, rows, width, scale, offset, y.mutable_data<float>().data(),
                mean.defined() ? mean.mutable_data<float>().data() : nullptr,
                deviation.defined() ? deviation.mutable_data<float>().data() : nullptr);
  context.set_output(0, std::move(y));
  if (mean.defined()) context.set_output(1, std::move(mean));
  if (deviation.defined()) context.set_output(2, std::move(deviation));
  // NOLINTNEXTLINE(bugprone-use-after-move): moved from above only when it is not kept
  if (keep) context.set_output(3, std::move(sum));
}

std::unique_ptr<Kernel> MakeNorm(const Node& node, bool centered, int mean, int deviation) {
  const int64_t axis = node.Int("axis", -1);
  const NormSpec spec{centered, node.Float("epsilon", 1e-5f)};
  return MakeKernel([=](KernelContext& context) { RunNorm(context, axis, spec, mean, deviation); });
}

std::unique_ptr<Kernel> MakeSkipNorm(const Node& node, bool centered) {
  const NormSpec spec{centered, node.Float("epsilon", 1e-12f)};
  return MakeKernel([=](KernelContext& context) { RunSkipNorm(context, spec); });
}

}  // namespace

/// ai.onnx LayerNormalization: X, scale, bias? -> Y, mean?, inverse deviation?.
std::unique_ptr<Kernel> MakeLayerNormalization(const Node& node) {
  return MakeNorm(node, true, 1, 2);
}

/// ai.onnx RMSNormalization: X, scale -> Y.
std::unique_ptr<Kernel> MakeRmsNormalization(const Node& node) {
  return MakeNorm(node, false, -1, -1);
}

/// SimplifiedLayerNormalization of ONNX Runtime: X, scale -> Y, inverse root mean square?.
std::unique_ptr<Kernel> MakeSimplifiedLayerNormalization(const Node& node) {
  return MakeNorm(node, false, -1, 1);
}

/// com.microsoft SkipLayerNormalization: input, skip, gamma, beta?, bias?.
std::unique_ptr<Kernel> MakeSkipLayerNormalization(const Node& node) {
  return MakeSkipNorm(node, true);
}

/// com.microsoft SkipSimplifiedLayerNormalization: input, skip, gamma, bias?.
std::unique_ptr<Kernel> MakeSkipSimplifiedLayerNormalization(const Node& node) {
  return MakeSkipNorm(node, false);
}

}  // namespace ptq
