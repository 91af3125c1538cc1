// Draws: ai.onnx RandomNormal, RandomUniform (also Like), Bernoulli, Multinomial. The numbers
// follow from the node alone, so that every run of a model sees the same ones.
#include <cmath>
#include <cstring>
#include <functional>
#include <numbers>

#include "array.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// SplitMix64: element i of the stream of a seed, in [0, 1).
double UniformAt(uint64_t seed, int64_t i) {
  uint64_t z = seed + (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

/// From the attribute `seed`, else from what the node writes: no two nodes draw the same.
uint64_t SeedOf(const Node& node) {
  uint64_t seed = 0xCBF29CE484222325u;  // FNV-1a
  const std::string text = node.HasAttribute("seed") ? std::to_string(node.Float("seed", 0))
                           : node.output_count() > 0 ? node.output(0)
                                                     : node.name();
  for (const char c : text) seed = (seed ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return seed;
}

using Draw = std::function<double(int64_t)>;

Draw NormalDraw(const Node& node) {
  const double mean = node.Float("mean", 0), scale = node.Float("scale", 1);
  return [mean, scale, seed = SeedOf(node)](int64_t i) {
    // Box and Muller; 1 - u keeps the logarithm away from 0.
    const double radius = std::sqrt(-2 * std::log(1 - UniformAt(seed, 2 * i)));
    return mean + scale * radius * std::cos(2 * std::numbers::pi * UniformAt(seed, 2 * i + 1));
  };
}

Draw UniformDraw(const Node& node) {
  const double low = node.Float("low", 0), high = node.Float("high", 1);
  return [low, high, seed = SeedOf(node)](int64_t i) {
    return low + (high - low) * UniformAt(seed, i);
  };
}

Tensor Drawn(const Shape& shape, const Draw& draw) {
  Tensor out(DType::kFloat32, shape);
  int64_t i = 0;
  for (float& value : out.mutable_data<float>()) value = static_cast<float>(draw(i++));
  return out;
}

/// With the shape of the attribute `shape`, or of the input when there is none.
std::unique_ptr<Kernel> MakeDraw(const Node& node, const Draw& draw, bool like) {
  return MakeKernel([draw, like, shape = node.Ints("shape")](KernelContext& context) {
    context.set_output(0, Drawn(like ? context.input(0).shape() : shape, draw));
  });
}

DType TypeOr(const Node& node, DType fallback) {
  return static_cast<DType>(node.Int("dtype", static_cast<int64_t>(fallback)));
}

}  // namespace

std::unique_ptr<Kernel> MakeRandomNormal(const Node& node) {
  return MakeDraw(node, NormalDraw(node), false);
}

std::unique_ptr<Kernel> MakeRandomNormalLike(const Node& node) {
  return MakeDraw(node, NormalDraw(node), true);
}

std::unique_ptr<Kernel> MakeRandomUniform(const Node& node) {
  return MakeDraw(node, UniformDraw(node), false);
}

std::unique_ptr<Kernel> MakeRandomUniformLike(const Node& node) {
  return MakeDraw(node, UniformDraw(node), true);
}

/// ai.onnx Bernoulli: 1 with the probability that each element gives.
std::unique_ptr<Kernel> MakeBernoulli(const Node& node) {
  const uint64_t seed = SeedOf(node);
  return MakeKernel([seed, dtype = TypeOr(node, DType::kFloat32)](KernelContext& context) {
    const auto p = context.input(0).data<float>();
    const Tensor ones = Drawn(context.input(0).shape(), [&](int64_t i) {
      return UniformAt(seed, i) < p[static_cast<size_t>(i)] ? 1.0 : 0.0;
    });
    context.set_output(0, ones.Cast(dtype).Widened());
  });
}

/// ai.onnx Multinomial: classes drawn for each row of unnormalised log probabilities.
std::unique_ptr<Kernel> MakeMultinomial(const Node& node) {
  const uint64_t seed = SeedOf(node);
  const int64_t samples = node.Int("sample_size", 1);
  return MakeKernel([=, dtype = TypeOr(node, DType::kInt32)](KernelContext& context) {
    const Tensor& x = context.input(0);
    if (x.rank() != 2 || x.dim(1) == 0) throw InputError("Multinomial: [batch, classes] expected");
    const int64_t classes = x.dim(1);
    const Tensor chosen = Drawn({x.dim(0), samples}, [&](int64_t i) {
      const ConstArrayMap<float> row(x.data<float>().data() + i / samples * classes, classes);
      const Eigen::ArrayXd weights = (row - row.maxCoeff()).cast<double>().exp();
      double rest = UniformAt(seed, i) * weights.sum();
      int64_t choice = 0;
      while (choice + 1 < classes && (rest -= weights[choice]) >= 0) ++choice;
      return static_cast<double>(choice);
    });
    context.set_output(0, chosen.Cast(dtype));
  });
}

}  // namespace ptq
