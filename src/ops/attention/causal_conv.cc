// com.microsoft CausalConvWithState: the short depthwise convolution in front of a recurrent layer,
// with the last positions carried from call to call.
#include <algorithm>
#include <vector>

#include "array.h"
#include "vector_math.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct CausalConvInput {
  enum : size_t { kInput, kWeight, kBias, kPast };
};

struct CausalConvAttributes {
  bool channels_last;
  bool silu;
  int64_t dilation;
};

/// Sizes and strides: channel c of position t of batch b of a tensor with `length` positions is at
/// (b · length + t) · channels + c, or at (b · channels + c) · length + t.
struct CausalConvGeometry {
  int64_t batches, channels, length, taps, carried;
  bool channels_last;

  [[nodiscard]] int64_t Offset(int64_t batch, int64_t channel, int64_t positions) const {
    return channels_last ? batch * positions * channels + channel
                         : (batch * channels + channel) * positions;
  }
  [[nodiscard]] int64_t Step() const { return channels_last ? channels : 1; }
};

CausalConvGeometry ReadGeometry(const KernelContext& context, const CausalConvAttributes& a) {
  const Tensor& x = context.input(CausalConvInput::kInput);
  const Tensor& w = context.input(CausalConvInput::kWeight);
  if (x.rank() < 3 || (!a.channels_last && x.rank() != 3) || w.rank() != 3 || w.dim(1) != 1) {
    throw InputError("CausalConvWithState: weight " + ToString(w.shape()) +
                     " does not fit the input " + ToString(x.shape()));
  }
  const int64_t channels = a.channels_last ? NumElements(x.shape(), 2, x.rank()) : x.dim(1);
  const int64_t length = a.channels_last ? x.dim(1) : x.dim(2);
  const int64_t carried = NumElements(Shape{std::max<int64_t>(0, w.dim(2) - 1), a.dilation});
  const CausalConvGeometry g{x.dim(0), channels, length, w.dim(2), carried, a.channels_last};
  if (w.dim(0) != channels || (context.has_input(CausalConvInput::kBias) &&
                               context.input(CausalConvInput::kBias).size() != channels)) {
    throw InputError("CausalConvWithState: the input has " + std::to_string(channels) +
                     " channels, weight or bias do not");
  }
  return g;
}

void RunCausalConv(KernelContext& context, const CausalConvAttributes& a) {
  const CausalConvGeometry g = ReadGeometry(context, a);
  const Shape shape = context.input(CausalConvInput::kInput).shape();
  Shape state_shape = shape;
  state_shape[g.channels_last ? 1 : 2] = g.carried;
  const Tensor past =
      context.has_input(CausalConvInput::kPast) ? context.input(CausalConvInput::kPast) : Tensor();
  if (past.defined() && past.shape() != state_shape) {
    throw InputError("CausalConvWithState: past_state has shape " + ToString(past.shape()) +
                     ", expected " + ToString(state_shape));
  }
  Tensor out(DType::kFloat32, shape);
  Tensor present(DType::kFloat32, state_shape);
  const float* x = context.input(CausalConvInput::kInput).data<float>().data();
  const float* w = context.input(CausalConvInput::kWeight).data<float>().data();
  const float* bias = context.has_input(CausalConvInput::kBias)
                          ? context.input(CausalConvInput::kBias).data<float>().data()
                          : nullptr;
  const float* before = past.defined() ? past.data<float>().data() : nullptr;
  float* y = out.mutable_data<float>().data();
  float* states = present.mutable_data<float>().data();
  const int64_t step = g.Step();
  ParallelFor(g.batches * g.channels, [&](int64_t i) {
    const int64_t batch = i / g.channels;
    const int64_t channel = i % g.channels;
    // The carried positions, then the new ones.
    std::vector<float> line(static_cast<size_t>(g.carried + g.length), 0.0f);
    for (int64_t t = 0; before != nullptr && t < g.carried; ++t) {
      line[static_cast<size_t>(t)] = before[g.Offset(batch, channel, g.carried) + t * step];
    }
    const int64_t at = g.Offset(batch, channel, g.length);
    for (int64_t t = 0; t < g.length; ++t)
      line[static_cast<size_t>(g.carried + t)] = x[at + t * step];

    Eigen::Array<float, Eigen::Dynamic, 1> sum(g.length);
    sum.setConstant(bias != nullptr ? bias[channel] : 0.0f);
    for (int64_t tap = 0; tap < g.taps; ++tap) {
      sum += w[channel * g.taps + tap] *
             ConstArrayMap<float>(line.data() + tap * a.dilation, g.length);
    }
    if (a.silu) SwishArray(1.0f, sum.data(), sum.data(), g.length);
    for (int64_t t = 0; t < g.length; ++t) y[at + t * step] = sum[t];

    float* to = states + g.Offset(batch, channel, g.carried);
    for (int64_t t = 0; t < g.carried; ++t) to[t * step] = line[static_cast<size_t>(g.length + t)];
  });
  context.set_output(0, std::move(out));
  context.set_output(1, std::move(present));
}

}  // namespace

/// com.microsoft CausalConvWithState over one axis: input, weight[C, 1, k], bias?, past state? ->
/// Y, state.
std::unique_ptr<Kernel> MakeCausalConvWithState(const Node& node) {
  const std::string activation = node.String("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish") {
    throw UnsupportedError("node '" + node.name() + "': activation '" + activation +
                           "' is not supported");
  }
  if (node.Int("ndim", 1) != 1 || node.Int("state_window", 0) != 0) {
    throw UnsupportedError("node '" + node.name() +
                           "': only ndim 1 without state_window is supported (as by ONNX Runtime "
                           "on CPU)");
  }
  const CausalConvAttributes attributes{node.Int("channels_last", 0) != 0, activation != "none",
                                        node.Int("dilation", 1)};
  if (attributes.dilation < 1) {
    throw InputError("node '" + node.name() + "': dilation is not positive");
  }
  return MakeKernel([attributes](KernelContext& context) { RunCausalConv(context, attributes); });
}

}  // namespace ptq
