// Fused operators of com.microsoft that ONNX Runtime's optimizer writes into diffusion models:
// GroupNorm, SkipGroupNorm, BiasSplitGelu.
#include <vector>

#include "array.h"
#include "makers.h"
#include "norm_rows.h"
#include "spatial/channels_last.h"
#include "vector_math.h"

namespace ptq {
namespace {

struct GroupNormAttributes {
  bool channels_last;
  bool silu;
};

/// X + skip (one per element, or per channel of each batch entry) + bias (per channel), all with
/// the channels last.
Tensor AddSkip(const KernelContext& context) {
  Tensor sum = context.input(0);
  const Tensor& skip = context.input(3);
  const int64_t channels = sum.dim(-1);
  const int64_t batches = sum.dim(0);
  const bool per_channel = skip.size() == batches * channels;
  if (!per_channel && skip.size() != sum.size()) {
    throw InputError("SkipGroupNorm: skip of shape " + ToString(skip.shape()) +
                     " does not fit the input " + ToString(sum.shape()));
  }
  const int64_t rows = channels == 0 ? 0 : sum.size() / channels;
  float* to = sum.mutable_data<float>().data();
  for (int64_t row = 0; row < rows; ++row) {
    ArrayMap<float> out(to + row * channels, channels);
    const int64_t at = per_channel ? row / (rows / batches) : row;
    out += ConstArrayMap<float>(skip.data<float>().data() + at * channels, channels);
    if (context.has_input(4)) {
      out += ConstArrayMap<float>(context.input(4).data<float>().data(), channels);
    }
  }
  return sum;
}

/// Normalises x with the plain kernel, which has the channels first.
Tensor Normalized(const Kernel& norm, const GroupNormAttributes& a, const Tensor& x,
                  const KernelContext& context) {
  const Tensor first = a.channels_last ? ChannelsFirst(x) : x;
  Tensor y = RunKernel(norm, {first, context.input(1), context.input(2)});
  if (a.channels_last) y = ChannelsLast(y);
  if (a.silu) {
    float* data = y.mutable_data<float>().data();
    SwishArray(1.0f, data, data, y.size());
  }
  return y;
}

GroupNormAttributes ReadGroupNormAttributes(const Node& node) {
  return {node.Int("channels_last", 1) != 0, node.RequiredInt("activation") == 1};
}

}  // namespace

/// com.microsoft GroupNorm: X, gamma, beta -> Y.
std::unique_ptr<Kernel> MakeGroupNormContrib(const Node& node) {
  const std::shared_ptr<const Kernel> norm =
      MakeGroupNorm(node.RequiredInt("groups"), node.Float("epsilon", 1e-5f));
  return MakeKernel([norm, a = ReadGroupNormAttributes(node)](KernelContext& context) {
    context.set_output(0, Normalized(*norm, a, context.input(0), context));
  });
}

/// com.microsoft SkipGroupNorm: X, gamma, beta, skip, bias? -> Y, the sum?.
std::unique_ptr<Kernel> MakeSkipGroupNorm(const Node& node) {
  const std::shared_ptr<const Kernel> norm =
      MakeGroupNorm(node.RequiredInt("groups"), node.Float("epsilon", 1e-5f));
  const GroupNormAttributes a = ReadGroupNormAttributes(node);
  if (!a.channels_last) {
    throw UnsupportedError("node '" + node.name() + "': SkipGroupNorm needs the channels last");
  }
  return MakeKernel([norm, a](KernelContext& context) {
    Tensor sum = AddSkip(context);
    context.set_output(0, Normalized(*norm, a, sum, context));
    if (context.wants(1)) context.set_output(1, std::move(sum));
  });
}

/// com.microsoft BiasSplitGelu: left half of X + bias times the GELU of the right half.
std::unique_ptr<Kernel> MakeBiasSplitGelu(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Tensor& x = context.input(0);
    const int64_t width = x.rank() > 0 ? x.dim(-1) : 0;
    if (width % 2 != 0 || context.input(1).size() != width) {
      throw InputError("BiasSplitGelu: a bias of shape " + ToString(context.input(1).shape()) +
                       " and an input of shape " + ToString(x.shape()) + " do not fit");
    }
    const int64_t half = width / 2;
    Shape shape = x.shape();
    shape.back() = half;
    Tensor out(DType::kFloat32, shape);
    const float* from = x.data<float>().data();
    float* to = out.mutable_data<float>().data();
    const ConstArrayMap<float> bias(context.input(1).data<float>().data(), width);
    for (int64_t row = 0; row < (half == 0 ? 0 : out.size() / half); ++row) {
      const ConstArrayMap<float> in(from + row * width, width);
      ArrayMap<float> y(to + row * half, half);
      y = in.tail(half) + bias.tail(half);
      GeluArray(y.data(), y.data(), half);
      y *= in.head(half) + bias.head(half);
    }
    context.set_output(0, std::move(out));
  });
}

}  // namespace ptq
