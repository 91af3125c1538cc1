// com.microsoft.nchwc: what ONNX Runtime saves at its highest optimisation level, convolutions over
// channels in blocks. A tensor of shape [N, C, …] holds [N, C / block, …, block]; the block is that
// of the processor's vectors, which the file does not say.
#include <algorithm>

#include "channels_last.h"
#include "fused_activation.h"
#include "makers.h"

namespace ptq {
namespace {

/// The block that ONNX Runtime uses on this processor.
int64_t BlockOfThisMachine() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") ? 16 : 8;
#else
  return 16;
#endif
}

[[noreturn]] void RefuseBlock(const Tensor& x) {
  throw UnsupportedError(
      "a tensor of shape " + ToString(x.shape()) + " does not divide into blocks of " +
      std::to_string(BlockOfThisMachine()) +
      " channels: the model was optimised for another processor; save it with ONNX Runtime's level "
      "ORT_ENABLE_EXTENDED instead");
}

/// The block along axis `axis` of a tensor.
int64_t BlockOf(const Tensor& x, int64_t axis) {
  const int64_t block = BlockOfThisMachine();
  if (x.rank() <= axis || x.dim(axis) % block != 0) RefuseBlock(x);
  return block;
}

Tensor Unblocked(const Tensor& x) {
  const int64_t block = BlockOf(x, 1);
  const int64_t spatial = NumElements(x.shape(), 2, x.rank());
  return TransposeAxes(x.Reshaped({x.dim(0), x.dim(1) / block, spatial, block}), {0, 1, 3, 2})
      .Reshaped(x.shape());
}

Tensor Blocked(const Tensor& x) {
  const int64_t block = BlockOf(x, 1);
  const int64_t spatial = NumElements(x.shape(), 2, x.rank());
  return TransposeAxes(x.Reshaped({x.dim(0), x.dim(1) / block, block, spatial}), {0, 1, 3, 2})
      .Reshaped(x.shape());
}

/// A weight [M, C, …] from blocks of outputs, and of inputs too when `both`.
Tensor UnblockedWeight(const Tensor& w, bool both) {
  const int64_t block = BlockOf(w, 0);
  const int64_t taps = NumElements(w.shape(), 2, w.rank());
  if (!both) {
    return TransposeAxes(w.Reshaped({w.dim(0) / block, w.dim(1) * taps, block}), {0, 2, 1})
        .Reshaped(w.shape());
  }
  const int64_t inputs = BlockOf(w, 1);
  return TransposeAxes(w.Reshaped({w.dim(0) / block, w.dim(1) / inputs, taps, inputs, block}),
                       {0, 4, 1, 3, 2})
      .Reshaped(w.shape());
}

/// [N, C, …] with zeros or without the last channels, so that there are `channels`.
Tensor WithChannels(const Tensor& x, int64_t channels) {
  const int64_t plane = NumElements(x.shape(), 2, x.rank());
  Shape shape = x.shape();
  shape[1] = channels;
  Tensor out = Tensor::Filled<float>(shape, 0.0f);
  float* to = out.mutable_data<float>().data();
  const float* from = x.data<float>().data();
  for (int64_t n = 0; n < shape[0]; ++n) {
    std::copy_n(from + n * x.dim(1) * plane, std::min(channels, x.dim(1)) * plane,
                to + n * channels * plane);
  }
  return out;
}

void RunConv(KernelContext& context, const Kernel& conv, int64_t groups,
             const FloatFunction& activation) {
  const Tensor& x = context.input(0);
  const Tensor& w = context.input(1);
  if (x.rank() < 3 || w.rank() != x.rank()) {
    throw InputError("Conv: weight " + ToString(w.shape()) + " over " + ToString(x.shape()));
  }
  // Few channels are read as they are; a depthwise weight has no inputs to block.
  const bool plain = groups == 1 && x.dim(1) < BlockOfThisMachine();
  const bool depthwise = groups > 1 && w.dim(1) == 1;
  Tensor out = RunKernel(conv, {plain ? x : Unblocked(x), UnblockedWeight(w, !plain && !depthwise),
                                context.has_input(2) ? context.input(2) : Tensor()});
  if (context.has_input(3)) {
    const Tensor sum = Unblocked(context.input(3));
    if (sum.shape() != out.shape()) {
      throw InputError("Conv: the sum of shape " + ToString(sum.shape()) + " does not fit " +
                       ToString(out.shape()));
    }
    ArrayMap<float>(out.mutable_data<float>().data(), out.size()) +=
        ConstArrayMap<float>(sum.data<float>().data(), sum.size());
  }
  Apply(activation, out);
  context.set_output(0, Blocked(out));
}

/// A kernel that treats every channel alike, between the two layouts.
std::unique_ptr<Kernel> MakePerChannel(std::unique_ptr<Kernel> kernel) {
  const std::shared_ptr<const Kernel> shared = std::move(kernel);
  return MakeKernel([shared](KernelContext& context) {
    context.set_output(0, Blocked(RunKernel(*shared, {Unblocked(context.input(0))})));
  });
}

}  // namespace

/// X [N, C, …] (or channels last) -> blocks, C filled up with zeros.
std::unique_ptr<Kernel> MakeReorderInput(const Node& node) {
  return MakeKernel([last = node.Int("channels_last", 0) != 0](KernelContext& context) {
    const Tensor x = last ? ChannelsFirst(context.input(0)) : context.input(0);
    const int64_t block = BlockOfThisMachine();
    context.set_output(0, Blocked(WithChannels(x, (x.dim(1) + block - 1) / block * block)));
  });
}

/// Blocks -> Y [N, C, …] (or channels last) of the first `channels`.
std::unique_ptr<Kernel> MakeReorderOutput(const Node& node) {
  const int64_t channels = node.RequiredInt("channels");
  return MakeKernel([channels, last = node.Int("channels_last", 0) != 0](KernelContext& context) {
    const Tensor x = Unblocked(context.input(0));
    Tensor out = x.dim(1) == channels ? x : WithChannels(x, channels);
    context.set_output(0, last ? ChannelsLast(out) : std::move(out));
  });
}

/// X, W, B?, sum? -> activation(Conv + sum), everything in blocks.
std::unique_ptr<Kernel> MakeBlockedConv(const Node& node) {
  const std::shared_ptr<const Kernel> conv = MakeConv(node);
  return MakeKernel([conv, groups = node.Int("group", 1), activation = ReadActivation(node)](
                        KernelContext& context) { RunConv(context, *conv, groups, activation); });
}

std::unique_ptr<Kernel> MakeBlockedMaxPool(const Node& node) {
  return MakePerChannel(MakeMaxPool(node));
}

std::unique_ptr<Kernel> MakeBlockedAveragePool(const Node& node) {
  return MakePerChannel(MakeAveragePool(node));
}

std::unique_ptr<Kernel> MakeBlockedGlobalMaxPool(const Node& node) {
  return MakePerChannel(MakeGlobalMaxPool(node));
}

std::unique_ptr<Kernel> MakeBlockedGlobalAveragePool(const Node& node) {
  return MakePerChannel(MakeGlobalAveragePool(node));
}

/// X -> Y, larger by whole factors in the attribute `scales`.
std::unique_ptr<Kernel> MakeBlockedUpsample(const Node& node) {
  std::vector<float> scales;
  for (const int64_t scale : node.Ints("scales")) scales.push_back(static_cast<float>(scale));
  const bool nearest = node.String("mode", "nearest") == "nearest";
  // Otherwise as the Resize of ai.onnx 13 that it was made of; both are given the scales last.
  const std::shared_ptr<const Kernel> resize =
      nearest ? MakeUpsample(node) : MakeResize(Node(node.proto(), 13));
  return MakeKernel([=](KernelContext& context) {
    std::vector<Tensor> inputs = {Unblocked(context.input(0))};
    if (!nearest) inputs.emplace_back();
    inputs.push_back(
        Tensor::From<float>({static_cast<int64_t>(scales.size())}, std::span<const float>(scales)));
    context.set_output(0, Blocked(RunKernel(*resize, std::move(inputs))));
  });
}

}  // namespace ptq
