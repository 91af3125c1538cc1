// com.microsoft FusedConv, NhwcConv, NhwcFusedConv and NhwcMaxPool: the plain operators with a sum
// and an activation behind, or with the channels last.
#include "arguments.h"
#include "channels_last.h"
#include "fused_activation.h"
#include "makers.h"

namespace ptq {
namespace {

/// activation(conv + sum), the sum an undefined tensor when there is none.
void SumAndActivate(const Tensor& sum, const FloatFunction& activation, Tensor& conv) {
  if (sum.defined()) {
    if (sum.shape() != conv.shape()) {
      throw InputError("the sum of shape " + ToString(sum.shape()) +
                       " does not fit the convolution's " + ToString(conv.shape()));
    }
    ArrayMap<float>(conv.mutable_data<float>().data(), conv.size()) +=
        ConstArrayMap<float>(sum.data<float>().data(), sum.size());
  }
  Apply(activation, conv);
}

}  // namespace

/// com.microsoft FusedConv: X, W, B?, Z? -> activation(Conv(X, W, B) + Z).
std::unique_ptr<Kernel> MakeFusedConv(const Node& node) {
  const std::shared_ptr<const Kernel> conv = MakeConv(node);
  return MakeKernel([conv, activation = ReadActivation(node)](KernelContext& context) {
    Tensor out = RunKernel(*conv, {context.input(0), context.input(1), OptionalInput(context, 2)});
    SumAndActivate(OptionalInput(context, 3), activation, out);
    context.set_output(0, std::move(out));
  });
}

/// com.microsoft NhwcConv and NhwcFusedConv: as FusedConv with X, Z and Y [N, …, C] and
/// W [M, …, C / group].
std::unique_ptr<Kernel> MakeNhwcConv(const Node& node) {
  const std::shared_ptr<const Kernel> conv = MakeConv(node);
  return MakeKernel([conv, activation = ReadActivation(node)](KernelContext& context) {
    Tensor out = ChannelsLast(
        RunKernel(*conv, {ChannelsFirst(context.input(0)), ChannelsFirst(context.input(1)),
                          OptionalInput(context, 2)}));
    SumAndActivate(OptionalInput(context, 3), activation, out);
    context.set_output(0, std::move(out));
  });
}

/// com.microsoft NhwcMaxPool of int8 or uint8 [N, …, C].
std::unique_ptr<Kernel> MakeNhwcMaxPool(const Node& node) {
  const std::shared_ptr<const Kernel> pool = MakeMaxPool(node);
  return MakeKernel([pool](KernelContext& context) {
    context.set_output(0, ChannelsLast(RunKernel(*pool, {ChannelsFirst(context.input(0))})));
  });
}

}  // namespace ptq
