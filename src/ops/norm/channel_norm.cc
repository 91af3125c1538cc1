// Normalisation with parameters per channel of [N, C, …]: instance, group and batch (inference).
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "array.h"
#include "norm_rows.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// One scale and bias per channel.
std::span<const float> PerChannel(const KernelContext& context, size_t input, int64_t channels) {
  const Tensor& tensor = context.input(input);
  if (tensor.size() != channels) {
    throw InputError("input " + std::to_string(input) + " has shape " + ToString(tensor.shape()) +
                     ", expected [" + std::to_string(channels) + "]");
  }
  return tensor.data<float>();
}

void CheckRank(const Tensor& x) {
  if (x.rank() < 2) {
    throw InputError("the input has shape " + ToString(x.shape()) +
                     ", expected a batch and a channel dimension");
  }
}

/// Normalises groups of consecutive channels over their elements, then scales each channel.
void RunGroups(KernelContext& context, int64_t groups, bool scale_per_group, float epsilon) {
  const Tensor& x = context.input(0);
  CheckRank(x);
  const Shape shape = x.shape();
  const int64_t channels = shape[1];
  if (groups <= 0 || channels % groups != 0) {
    throw InputError(std::to_string(channels) + " channels do not divide into " +
                     std::to_string(groups) + " groups");
  }
  const int64_t parameters = scale_per_group ? groups : channels;
  const auto scale = PerChannel(context, 1, parameters);
  const auto bias = PerChannel(context, 2, parameters);
  const int64_t inner = NumElements(shape, 2, x.rank());
  const int64_t per_group = channels / groups;
  const int64_t width = per_group * inner;
  const float* from = x.data<float>().data();
  Tensor out = ReuseInput(context, 0, DType::kFloat32, shape);
  float* to = out.mutable_data<float>().data();
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, width));
  ParallelForTiles(width == 0 ? 0 : shape[0] * groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ConstArrayMap<float> row(from + i * width, width);
      const float mean = row.sum() / static_cast<float>(width);
      const float variance = (row - mean).square().sum() / static_cast<float>(width);
      const float factor = 1.0f / std::sqrt(variance + epsilon);
      for (int64_t c = 0; c < per_group; ++c) {
        const int64_t channel = i % groups * per_group + c;
        const auto at = static_cast<size_t>(scale_per_group ? i % groups : channel);
        const int64_t offset = i * width + c * inner;
        ArrayMap<float>(to + offset, inner) =
            (ConstArrayMap<float>(from + offset, inner) - mean) * (factor * scale[at]) + bias[at];
      }
    }
  });
  context.set_output(0, std::move(out));
}

struct Statistics {
  std::vector<float> mean, variance;
};

/// Of each channel of x[N, channels, inner], with the variance of a population.
Statistics ObserveChannels(const Tensor& x, int64_t channels, int64_t inner) {
  Statistics found;
  const float* from = x.data<float>().data();
  const int64_t batch = x.dim(0);
  const auto count = static_cast<double>(batch * inner);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t n = 0; n < batch; ++n) {
      sum += ConstArrayMap<float>(from + (n * channels + c) * inner, inner).cast<double>().sum();
    }
    const double mean = sum / count;
    for (int64_t n = 0; n < batch; ++n) {
      const ConstArrayMap<float> row(from + (n * channels + c) * inner, inner);
      squares += (row.cast<double>() - mean).square().sum();
    }
    found.mean.push_back(static_cast<float>(mean));
    found.variance.push_back(static_cast<float>(squares / count));
  }
  return found;
}

/// What a running statistic becomes: `momentum` of what it was, the rest of what is seen.
Tensor Updated(std::span<const float> running, const std::vector<float>& seen, float momentum) {
  Tensor updated(DType::kFloat32, {static_cast<int64_t>(seen.size())});
  const auto to = updated.mutable_data<float>();
  for (size_t c = 0; c < seen.size(); ++c) {
    to[c] = running[c] * momentum + seen[c] * (1 - momentum);
  }
  return updated;
}

/// `momentum`: given in training mode, whose statistics are those of X itself.
void RunBatchNorm(KernelContext& context, float epsilon, std::optional<float> momentum) {
  const Tensor& x = context.input(0);
  if (x.rank() < 1) CheckRank(x);
  const Shape shape = x.shape();
  const int64_t channels = shape.size() > 1 ? shape[1] : 1;
  const int64_t inner = shape.size() > 1 ? NumElements(shape, 2, x.rank()) : 1;
  const auto scale = PerChannel(context, 1, channels);
  const auto bias = PerChannel(context, 2, channels);
  auto mean = PerChannel(context, 3, channels);
  auto variance = PerChannel(context, 4, channels);
  Statistics seen;
  if (momentum.has_value()) {
    seen = ObserveChannels(x, channels, inner);
    if (context.wants(1)) context.set_output(1, Updated(mean, seen.mean, *momentum));
    if (context.wants(2)) context.set_output(2, Updated(variance, seen.variance, *momentum));
    mean = seen.mean;
    variance = seen.variance;
  }
  const float* from = x.data<float>().data();
  Tensor out = ReuseInput(context, 0, DType::kFloat32, shape);
  float* to = out.mutable_data<float>().data();
  const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, inner));
  ParallelForTiles(shape[0] * channels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto c = static_cast<size_t>(i % channels);
      const float factor = scale[c] / std::sqrt(variance[c] + epsilon);
      ArrayMap<float>(to + i * inner, inner) =
          (ConstArrayMap<float>(from + i * inner, inner) - mean[c]) * factor + bias[c];
    }
  });
  context.set_output(0, std::move(out));
}

}  // namespace

/// ai.onnx InstanceNormalization: X[N, C, …], scale[C], bias[C].
std::unique_ptr<Kernel> MakeInstanceNormalization(const Node& node) {
  const float epsilon = node.Float("epsilon", 1e-5f);
  return MakeKernel([epsilon](KernelContext& context) {
    CheckRank(context.input(0));
    RunGroups(context, context.input(0).dim(1), false, epsilon);
  });
}

std::unique_ptr<Kernel> MakeGroupNorm(int64_t groups, float epsilon) {
  return MakeKernel([=](KernelContext& context) { RunGroups(context, groups, false, epsilon); });
}

/// ai.onnx GroupNormalization; scale and bias are per group before opset 21, per channel since.
std::unique_ptr<Kernel> MakeGroupNormalization(const Node& node) {
  const int64_t groups = node.RequiredInt("num_groups");
  const bool per_group = node.opset() < 21;
  const float epsilon = node.Float("epsilon", 1e-5f);
  return MakeKernel(
      [=](KernelContext& context) { RunGroups(context, groups, per_group, epsilon); });
}

/// ai.onnx BatchNormalization: X, scale, bias, mean, variance -> Y, and in training mode the
/// running mean and variance. Exports for inference have that mode where weights are standardised.
std::unique_ptr<Kernel> MakeBatchNormalization(const Node& node) {
  const float epsilon = node.Float("epsilon", 1e-5f);
  std::optional<float> momentum;
  if (node.Int("training_mode", 0) != 0) momentum = node.Float("momentum", 0.9f);
  return MakeKernel([=](KernelContext& context) { RunBatchNorm(context, epsilon, momentum); });
}

}  // namespace ptq
