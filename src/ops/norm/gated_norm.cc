// Small fused operators of com.microsoft for gated and hyper-connected layers: GatedRMSNorm,
// BranchwiseRMSNorm, EngramGate, GatedAdd, ScaledSiLU, HyperConnectionPreMix and -PostMix.
#include <cmath>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "norm_rows.h"
#include "vector_math.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

using Row = ArrayMap<float>;
using ConstRow = ConstArrayMap<float>;

[[noreturn]] void Refuse(const char* what, const Tensor& tensor, const Tensor& against) {
  throw InputError(std::string(what) + " of shape " + ToString(tensor.shape()) + " does not fit " +
                   ToString(against.shape()));
}

const float* Data(const KernelContext& context, size_t i) {
  return context.input(i).data<float>().data();
}

void RunGatedNorm(KernelContext& context, float epsilon, bool silu) {
  const Tensor& x = context.input(0);
  const Tensor& scale = context.input(1);
  const int64_t width = scale.size();
  if (x.rank() == 0 || width == 0 || x.dim(-1) % width != 0) Refuse("a scale", scale, x);
  if (context.input(2).shape() != x.shape()) Refuse("a gate", context.input(2), x);
  Tensor out(DType::kFloat32, x.shape());
  float* y = out.mutable_data<float>().data();
  NormalizeRows({false, epsilon}, Data(context, 0), x.size() / width, width, {scale, 0}, {}, y,
                nullptr, nullptr);
  const float* gate = Data(context, 2);
  ParallelForTiles(out.size(), kElementTile, [&](int64_t begin, int64_t end) {
    Eigen::ArrayXf factor(end - begin);
    (silu ? [](const float* g, float* f, int64_t n) { SwishArray(1.0f, g, f, n); } : SigmoidArray)(
        gate + begin, factor.data(), end - begin);
    Row(y + begin, end - begin) *= factor;
  });
  context.set_output(0, std::move(out));
}

/// Branches C and features H of streams [..., C, H], or [..., C · H] when their number is told.
struct Streams {
  int64_t rows, branches, width;
};

Streams ReadStreams(const Tensor& x, int64_t branches) {
  const int64_t last = x.rank() > 0 ? x.dim(-1) : 0;
  if (branches <= 0 && x.rank() >= 2)
    return {NumElements(x.shape(), 0, x.rank() - 2), x.dim(-2), last};
  if (branches <= 0 || last % branches != 0) {
    throw InputError("streams of shape " + ToString(x.shape()) + " do not divide into " +
                     std::to_string(branches) + " branches");
  }
  return {NumElements(x.shape(), 0, x.rank() - 1), branches, last / branches};
}

void RunBranchwiseNorm(KernelContext& context, float epsilon, int64_t branches) {
  const Tensor& x = context.input(0);
  const Streams s = ReadStreams(x, branches);
  const bool scaled = context.has_input(1);
  const int64_t scales = scaled ? context.input(1).size() : 0;
  if (scaled && scales != s.width && scales != s.branches * s.width) {
    Refuse("a scale", context.input(1), x);
  }
  Tensor out(DType::kFloat32, x.shape());
  float* y = out.mutable_data<float>().data();
  const Tensor ones = Tensor::Filled<float>({s.width}, 1.0f);
  NormalizeRows({false, epsilon}, Data(context, 0), s.rows * s.branches, s.width, {ones, 0}, {}, y,
                nullptr, nullptr);
  for (int64_t i = 0; scaled && i < s.rows * s.branches; ++i) {
    const int64_t branch = scales == s.width ? 0 : i % s.branches;
    Row(y + i * s.width, s.width) *= ConstRow(Data(context, 1) + branch * s.width, s.width);
  }
  context.set_output(0, std::move(out));
}

/// Weights given per branch, or per feature of each branch: the factor of feature h of branch i is
/// data[i · branch + h · feature].
struct MixWeights {
  const float* data;
  int64_t branch;
  int64_t feature;
};

MixWeights ReadWeights(const KernelContext& context, size_t i, const Streams& s) {
  const int64_t size = context.input(i).size();
  if (size == s.rows * s.branches) return {Data(context, i), 1, 0};
  if (size == s.rows * s.branches * s.width) return {Data(context, i), s.width, 1};
  Refuse("mixing weights", context.input(i), context.input(0));
}

/// to += factors · from over the features of branch `at`.
void AddWeighted(const MixWeights& weights, int64_t at, const float* from, int64_t width,
                 float* to) {
  const float* factor = weights.data + at * weights.branch;
  if (weights.feature == 0) {
    Row(to, width) += *factor * ConstRow(from, width);
  } else {
    Row(to, width) += ConstRow(factor, width) * ConstRow(from, width);
  }
}

void RunPreMix(KernelContext& context, int64_t branches, float scale) {
  const Tensor& x = context.input(0);
  const Streams s = ReadStreams(x, branches);
  const MixWeights weights = ReadWeights(context, 1, s);
  Shape shape = x.shape();
  if (branches <= 0) shape.erase(shape.end() - 2);
  shape.back() = s.width;
  Tensor out = Tensor::Filled<float>(shape, 0.0f);
  float* y = out.mutable_data<float>().data();
  for (int64_t row = 0; row < s.rows; ++row) {
    for (int64_t c = 0; c < s.branches; ++c) {
      const int64_t at = row * s.branches + c;
      AddWeighted(weights, at, Data(context, 0) + at * s.width, s.width, y + row * s.width);
    }
    Row(y + row * s.width, s.width) *= scale;
  }
  context.set_output(0, std::move(out));
}

void RunPostMix(KernelContext& context, int64_t branches) {
  const Tensor& x = context.input(0);
  const Streams s = ReadStreams(x, branches);
  if (context.input(1).size() != s.rows * s.width) Refuse("block output", context.input(1), x);
  const MixWeights weights = ReadWeights(context, 2, s);
  const bool mixed = context.has_input(3);
  if (mixed && context.input(3).size() != s.rows * s.branches * s.branches) {
    Refuse("stream_mix", context.input(3), x);
  }
  Tensor out = mixed ? Tensor::Filled<float>(x.shape(), 0.0f) : context.input(0);
  float* y = out.mutable_data<float>().data();
  for (int64_t row = 0; row < s.rows; ++row) {
    for (int64_t k = 0; k < s.branches; ++k) {
      const int64_t at = row * s.branches + k;
      for (int64_t c = 0; mixed && c < s.branches; ++c) {
        const int64_t from = row * s.branches + c;
        Row(y + at * s.width, s.width) += Data(context, 3)[from * s.branches + k] *
                                          ConstRow(Data(context, 0) + from * s.width, s.width);
      }
      AddWeighted(weights, at, Data(context, 1) + row * s.width, s.width, y + at * s.width);
    }
  }
  context.set_output(0, std::move(out));
}

void RunGatedAdd(KernelContext& context) {
  const Tensor& x = context.input(0);
  const int64_t width = x.rank() > 0 ? x.dim(-1) : 0;
  if (context.input(1).shape() != x.shape()) Refuse("the added tensor", context.input(1), x);
  if (context.input(2).size() * width != x.size()) Refuse("a gate", context.input(2), x);
  Tensor out = context.input(0);
  float* y = out.mutable_data<float>().data();
  for (int64_t row = 0; row < context.input(2).size(); ++row) {
    Row(y + row * width, width) +=
        Data(context, 2)[row] * ConstRow(Data(context, 1) + row * width, width);
  }
  context.set_output(0, std::move(out));
}

/// key, query [rows, C, H], value [rows, H]; scales [C, H].
void RunEngramGate(KernelContext& context, float epsilon) {
  const Tensor& key = context.input(0);
  const Streams s = ReadStreams(key, 0);
  if (context.input(1).shape() != key.shape()) Refuse("query", context.input(1), key);
  if (context.input(2).size() != s.rows * s.width) Refuse("value", context.input(2), key);
  for (size_t i = 3; i <= 5; ++i) {
    if ((i < 5 || context.wants(1)) && context.input(i).size() != s.branches * s.width) {
      Refuse("a norm's scale", context.input(i), key);
    }
  }
  Tensor gated(DType::kFloat32, key.shape());
  Tensor normed(DType::kFloat32, context.wants(1) ? key.shape() : Shape{0});
  const auto normalize = [&](const float* from, size_t scale, int64_t branch) -> Eigen::ArrayXf {
    const ConstRow x(from, s.width);
    const float factor = 1.0f / std::sqrt(x.square().mean() + epsilon);
    return x * factor * ConstRow(Data(context, scale) + branch * s.width, s.width);
  };
  float* y = gated.mutable_data<float>().data();
  for (int64_t i = 0; i < s.rows * s.branches; ++i) {
    const int64_t branch = i % s.branches;
    const float dot = (normalize(Data(context, 0) + i * s.width, 3, branch) *
                       normalize(Data(context, 1) + i * s.width, 4, branch))
                          .sum() /
                      std::sqrt(static_cast<float>(s.width));
    const float root = std::sqrt(std::max(std::abs(dot), 1e-6f));
    const float signed_root = dot > 0.0f ? root : (dot < 0.0f ? -root : 0.0f);
    const float gate = 1.0f / (1.0f + std::exp(-signed_root));
    const ConstRow value(Data(context, 2) + i / s.branches * s.width, s.width);
    Row(y + i * s.width, s.width) = gate * value;
    if (context.wants(1)) {
      Row(normed.mutable_data<float>().data() + i * s.width, s.width) =
          normalize(y + i * s.width, 5, branch);
    }
  }
  context.set_output(0, std::move(gated));
  if (context.wants(1)) context.set_output(1, std::move(normed));
}

}  // namespace

/// com.microsoft GatedRMSNorm: X, scale, gate -> Y; rows are as long as the scale.
std::unique_ptr<Kernel> MakeGatedRmsNorm(const Node& node) {
  const std::string activation = node.String("activation", "silu");
  if (activation != "silu" && activation != "swish" && activation != "sigmoid") {
    throw UnsupportedError("node '" + node.name() + "': activation '" + activation +
                           "' is not supported");
  }
  return MakeKernel([epsilon = node.Float("epsilon", 1e-5f), silu = activation != "sigmoid"](
                        KernelContext& context) { RunGatedNorm(context, epsilon, silu); });
}

/// com.microsoft BranchwiseRMSNorm: X, scale? -> Y.
std::unique_ptr<Kernel> MakeBranchwiseRmsNorm(const Node& node) {
  return MakeKernel([epsilon = node.Float("epsilon", 1e-5f),
                     branches = node.Int("num_branches", 0)](KernelContext& context) {
    RunBranchwiseNorm(context, epsilon, branches);
  });
}

/// com.microsoft EngramGate: key, query, value, key scale, query scale, output scale? -> gated
/// value, its norm?.
std::unique_ptr<Kernel> MakeEngramGate(const Node& node) {
  return MakeKernel([epsilon = node.Float("epsilon", 1e-5f)](KernelContext& context) {
    RunEngramGate(context, epsilon);
  });
}

/// com.microsoft GatedAdd: X + Y · gate, one gate per row.
std::unique_ptr<Kernel> MakeGatedAdd(const Node&) { return MakeKernel(RunGatedAdd); }

/// com.microsoft ScaledSiLU: X, scale? -> silu(scale · X).
std::unique_ptr<Kernel> MakeScaledSilu(const Node& node) {
  return MakeKernel([alpha = node.Float("alpha", 1.0f)](KernelContext& context) {
    const float scale = context.has_input(1) ? ScalarInputOf<float>(context, 1) : alpha;
    Tensor out(DType::kFloat32, context.input(0).shape());
    Row y(out.mutable_data<float>().data(), out.size());
    y = scale * ConstRow(Data(context, 0), out.size());
    SwishArray(1.0f, y.data(), y.data(), out.size());
    context.set_output(0, std::move(out));
  });
}

/// com.microsoft HyperConnectionPreMix: streams, weights -> their weighted sum.
std::unique_ptr<Kernel> MakeHyperConnectionPreMix(const Node& node) {
  return MakeKernel([branches = node.Int("num_branches", 0),
                     scale = node.Float("reduction_scale", 1.0f)](KernelContext& context) {
    RunPreMix(context, branches, scale);
  });
}

/// com.microsoft HyperConnectionPostMix: streams, block output, weights, stream matrix? -> streams.
std::unique_ptr<Kernel> MakeHyperConnectionPostMix(const Node& node) {
  return MakeKernel([branches = node.Int("num_branches", 0)](KernelContext& context) {
    RunPostMix(context, branches);
  });
}

}  // namespace ptq
