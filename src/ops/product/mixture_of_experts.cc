// com.microsoft MoE and QMoE: each token through its best few experts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "arguments.h"
#include "array.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/gemm.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

enum class Activation { kRelu, kGelu, kSilu, kIdentity, kSwiglu };

struct ExpertAttributes {
  int64_t top;
  Activation activation;
  bool normalize;
  bool sparse;     ///< the experts are chosen and weighted by the sparse mixer
  int64_t fusion;  ///< of SwiGLU: 0 apart, 1 interleaved, 2 halves
  float alpha, beta, limit;
  int64_t block;  ///< 0: one scale per row
  int bits[3];    ///< of fc1, fc2, fc3
};

Activation ReadExpertActivation(const Node& node) {
  const std::string name = node.String("activation_type", "relu");
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "silu") return Activation::kSilu;
  if (name == "identity") return Activation::kIdentity;
  if (name == "swiglu") return Activation::kSwiglu;
  throw UnsupportedError("node '" + node.name() + "': activation_type " + name +
                         " is not supported");
}

ExpertAttributes ReadExpertAttributes(const Node& node) {
  const bool sparse = node.Int("use_sparse_mixer", 0) != 0;
  if (sparse && node.Int("k", 1) != 2) {
    throw UnsupportedError("node '" + node.name() +
                           "': use_sparse_mixer chooses two experts, k is " +
                           std::to_string(node.Int("k", 1)));
  }
  if (node.String("quant_type", "int") != "int") {
    throw UnsupportedError("node '" + node.name() + "': only integer expert weights are supported");
  }
  const auto bits = static_cast<int>(node.Int("expert_weight_bits", 4));
  ExpertAttributes attributes{node.Int("k", 1),
                              ReadExpertActivation(node),
                              node.Int("normalize_routing_weights", 0) != 0,
                              sparse,
                              node.Int("swiglu_fusion", 0),
                              node.Float("activation_alpha", 1.0f),
                              node.Float("activation_beta", 0.0f),
                              node.Float("swiglu_limit", std::numeric_limits<float>::infinity()),
                              node.Int("block_size", 0),
                              {}};
  for (int i = 0; i < 3; ++i) {
    const std::string name = "fc" + std::to_string(i + 1) + "_expert_weight_bits";
    attributes.bits[i] = static_cast<int>(node.Int(name, bits));
    if (attributes.bits[i] != 2 && attributes.bits[i] != 4 && attributes.bits[i] != 8) {
      throw UnsupportedError("node '" + node.name() + "': expert weights of " +
                             std::to_string(attributes.bits[i]) + " bits are not supported");
    }
  }
  return attributes;
}

/// The weights of one of the projections, one matrix [out, in] per expert, floats or codes.
class Projection {
 public:
  Projection() = default;
  /// Floats [E, out, in].
  Projection(const Tensor& weights, const Tensor& bias, int64_t inputs)
      : weights_(weights), bias_(bias), inputs_(inputs) {
    CheckWeights(inputs);
  }
  /// Codes [E, out, in · bits / 8] with scales [E, out] or [E, out, in / block].
  Projection(const Tensor& weights, const Tensor& scales, const Tensor& zeros, const Tensor& bias,
             int bits, int64_t block, int64_t inputs)
      : weights_(weights),
        scales_(scales),
        zeros_(zeros),
        bias_(bias),
        inputs_(inputs),
        bits_(bits) {
    CheckWeights(inputs * bits / 8);
    if (weights.dtype() != DType::kUint8 || (zeros.defined() && zeros.dtype() != DType::kUint8)) {
      throw InputError("QMoE: weights and zero points must be uint8");
    }
    block_ = block > 0 ? block : inputs;
    by_row_ = block <= 0;
    blocks_ = (inputs + block_ - 1) / block_;
    zero_row_ = by_row_ ? (outputs() * bits + 7) / 8 : (blocks_ * bits + 7) / 8;
    const int64_t rows = by_row_ ? experts() : experts() * outputs();
    if (scales.size() != experts() * outputs() * blocks_ ||
        (zeros.defined() && zeros.size() != rows * zero_row_)) {
      throw InputError("QMoE: scales " + ToString(scales.shape()) +
                       " or zero points do not fit weights " + ToString(weights.shape()));
    }
  }

  [[nodiscard]] bool defined() const { return weights_.defined(); }
  [[nodiscard]] int64_t experts() const { return weights_.dim(0); }
  [[nodiscard]] int64_t outputs() const { return weights_.dim(1); }

  /// y[rows, out] = x[rows, in] · Wᵀ + bias of one expert.
  [[nodiscard]] std::vector<float> Apply(int64_t expert, const std::vector<float>& x,
                                         int64_t rows) const {
    const int64_t n = outputs();
    std::vector<float> y(static_cast<size_t>(rows * n), 0.0f);
    if (bias_.defined()) {
      if (bias_.size() != experts() * n) throw InputError("MoE: an expert bias does not fit");
      const float* bias = bias_.data<float>().data() + expert * n;
      for (int64_t row = 0; row < rows; ++row) std::copy_n(bias, n, y.data() + row * n);
    }
    std::vector<float> dequantized;
    const float* w = Weights(expert, dequantized);
    Gemm(1.0f, {x.data(), rows, inputs_, inputs_}, {w, n, inputs_, inputs_, true}, 1.0f, y.data(),
         n);
    return y;
  }

 private:
  void CheckWeights(int64_t columns) const {
    if (weights_.rank() != 3 || weights_.dim(2) != columns) {
      throw InputError("MoE: expert weights have shape " + ToString(weights_.shape()) +
                       ", expected rows of " + std::to_string(columns));
    }
  }

  const float* Weights(int64_t expert, std::vector<float>& dequantized) const {
    const int64_t n = outputs();
    if (!scales_.defined()) return weights_.data<float>().data() + expert * n * inputs_;
    dequantized.resize(static_cast<size_t>(n * inputs_));
    const uint8_t* codes = reinterpret_cast<const uint8_t*>(weights_.bytes().data());
    const int64_t row_bytes = inputs_ * bits_ / 8;
    const int64_t grain = std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, inputs_));
    ParallelForTiles(n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = expert * n + i;
        for (int64_t b = 0; b < blocks_; ++b) {
          const int64_t count = std::min(block_, inputs_ - b * block_);
          DequantizeCodes(codes + row * row_bytes + b * block_ * bits_ / 8, bits_, count,
                          scales_.data<float>()[static_cast<size_t>(row * blocks_ + b)],
                          ZeroPoint(expert, i, b), dequantized.data() + i * inputs_ + b * block_);
        }
      }
    });
    return dequantized.data();
  }

  [[nodiscard]] float ZeroPoint(int64_t expert, int64_t row, int64_t block) const {
    if (!zeros_.defined()) return static_cast<float>(1 << (bits_ - 1));
    const auto* packed = reinterpret_cast<const uint8_t*>(zeros_.bytes().data());
    uint8_t code = 0;
    if (by_row_) {
      UnpackBits(packed + expert * zero_row_, bits_, row, 1, &code);
    } else {
      UnpackBits(packed + (expert * outputs() + row) * zero_row_, bits_, block, 1, &code);
    }
    return static_cast<float>(code);
  }

  Tensor weights_, scales_, zeros_, bias_;
  int64_t inputs_ = 0;
  int bits_ = 0;
  int64_t block_ = 0;
  int64_t blocks_ = 0;
  int64_t zero_row_ = 0;
  bool by_row_ = false;
};

struct Choice {
  int64_t token;
  float weight;
};

/// The two experts of the sparse mixer (Phi-3.5-MoE): each is the best of those that are left, its
/// weight its softmax among the logits within 2 % of its own.
void RouteSparsely(const float* row, int64_t experts, int64_t token,
                   std::vector<std::vector<Choice>>& choices) {
  constexpr float kTolerance = 0.02f;
  int64_t first = -1;
  for (int rank = 0; rank < 2; ++rank) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      if (e != first && (best < 0 || row[e] > row[best])) best = e;
    }
    if (best < 0) return;
    float sum = 0.0f;
    for (int64_t e = 0; e < experts; ++e) {
      const float difference = row[best] - row[e];
      const bool near = difference <= kTolerance * std::max(std::abs(row[e]), row[best]);
      if (e != first && near) sum += std::exp(-difference);
    }
    choices[static_cast<size_t>(best)].push_back({token, 1.0f / sum});
    first = best;
  }
}

/// Tokens of each expert with their mixing weights, from logits[tokens, experts]. Equal logits go
/// to the lower expert. `mixing`, when not null, supplies the weights in place of the softmax.
std::vector<std::vector<Choice>> Route(const float* logits, const float* mixing, int64_t tokens,
                                       int64_t experts, const ExpertAttributes& attributes) {
  std::vector<std::vector<Choice>> choices(static_cast<size_t>(experts));
  const int64_t top = std::clamp<int64_t>(attributes.top, 1, experts);
  Shape order(static_cast<size_t>(experts));
  std::vector<float> weights(static_cast<size_t>(experts));
  for (int64_t token = 0; token < tokens; ++token) {
    const float* row = logits + token * experts;
    if (attributes.sparse) {
      RouteSparsely(row, experts, token, choices);
      continue;
    }
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + top, order.end(), [&](int64_t a, int64_t b) {
      return row[a] != row[b] ? row[a] > row[b] : a < b;
    });
    const float largest = row[order[0]];
    float sum = 0.0f;
    for (int64_t e = 0; e < experts; ++e) sum += std::exp(row[e] - largest);
    float chosen = 0.0f;
    for (int64_t i = 0; i < top; ++i) {
      const int64_t e = order[static_cast<size_t>(i)];
      const float weight =
          mixing != nullptr ? mixing[token * experts + e] : std::exp(row[e] - largest) / sum;
      weights[static_cast<size_t>(i)] = weight;
      chosen += weight;
    }
    for (int64_t i = 0; i < top; ++i) {
      const float weight = weights[static_cast<size_t>(i)];
      choices[static_cast<size_t>(order[static_cast<size_t>(i)])].push_back(
          {token, attributes.normalize && chosen != 0.0f ? weight / chosen : weight});
    }
  }
  return choices;
}

float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kRelu: return std::max(x, 0.0f);
    // The tanh form, as ONNX Runtime computes it here.
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
    case Activation::kSilu: return x / (1.0f + std::exp(-x));
    default: return x;
  }
}

/// The hidden values of the tokens of one expert, [rows, inter].
std::vector<float> Hidden(const ExpertAttributes& a, std::vector<float> gate,
                          std::vector<float> linear, int64_t rows) {
  if (a.activation != Activation::kSwiglu) {
    for (size_t i = 0; i < gate.size(); ++i) {
      gate[i] = Activate(a.activation, gate[i]) * (linear.empty() ? 1.0f : linear[i]);
    }
    return gate;
  }
  const bool apart = !linear.empty();
  const int64_t width = static_cast<int64_t>(gate.size()) / rows;
  const int64_t inter = apart ? width : width / 2;
  std::vector<float> out(static_cast<size_t>(rows * inter));
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = gate.data() + row * width;
    for (int64_t i = 0; i < inter; ++i) {
      float g = a.fusion == 1 && !apart ? from[2 * i] : from[i];
      float l = apart ? linear[static_cast<size_t>(row * inter + i)]
                      : (a.fusion == 1 ? from[2 * i + 1] : from[inter + i]);
      g = std::min(g, a.limit);
      l = std::clamp(l, -a.limit, a.limit);
      out[static_cast<size_t>(row * inter + i)] =
          g / (1.0f + std::exp(-a.alpha * g)) * (l + a.beta);
    }
  }
  return out;
}

void Mix(KernelContext& context, const ExpertAttributes& attributes, const Projection& fc1,
         const Projection& fc2, const Projection& fc3, size_t mixing_input) {
  const Tensor& x = context.input(0);
  const int64_t width = x.dim(-1);
  const int64_t tokens = x.size() / std::max<int64_t>(1, width);
  const int64_t experts = fc1.experts();
  if (experts == 0) throw InputError("MoE: there are no experts");
  const Tensor& logits = context.input(1);
  if (logits.size() != tokens * experts || fc2.outputs() != width || fc2.experts() != experts) {
    throw InputError("MoE: router_probs " + ToString(logits.shape()) +
                     " or the expert weights do not fit the input " + ToString(x.shape()));
  }
  const float* mixing =
      context.has_input(mixing_input) ? context.input(mixing_input).data<float>().data() : nullptr;
  const auto choices = Route(logits.data<float>().data(), mixing, tokens, experts, attributes);
  Tensor out = Tensor::Filled<float>(x.shape(), 0.0f);
  float* y = out.mutable_data<float>().data();
  const float* from = x.data<float>().data();
  // One expert after the other, so that the sums are always made in the same order.
  for (int64_t e = 0; e < experts; ++e) {
    const auto& picked = choices[static_cast<size_t>(e)];
    const auto rows = static_cast<int64_t>(picked.size());
    if (rows == 0) continue;
    std::vector<float> gathered(static_cast<size_t>(rows * width));
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(from + picked[static_cast<size_t>(i)].token * width, width,
                  gathered.data() + i * width);
    }
    const auto linear = fc3.defined() ? fc3.Apply(e, gathered, rows) : std::vector<float>();
    const auto hidden = Hidden(attributes, fc1.Apply(e, gathered, rows), linear, rows);
    const auto result = fc2.Apply(e, hidden, rows);
    for (int64_t i = 0; i < rows; ++i) {
      const Choice& choice = picked[static_cast<size_t>(i)];
      ArrayMap<float>(y + choice.token * width, width) +=
          choice.weight * ConstArrayMap<float>(result.data() + i * width, width);
    }
  }
  context.set_output(0, std::move(out));
}

/// Columns of the second projection, given the rows of the first.
int64_t Intermediate(const ExpertAttributes& attributes, int64_t outputs, bool apart) {
  return attributes.activation == Activation::kSwiglu && !apart ? outputs / 2 : outputs;
}

void RunMoe(KernelContext& context, const ExpertAttributes& attributes) {
  const int64_t width = context.input(0).dim(-1);
  const bool apart = context.has_input(6);
  const Projection fc1(context.input(2), OptionalInput(context, 3), width);
  const Projection fc2(context.input(4), OptionalInput(context, 5),
                       Intermediate(attributes, fc1.outputs(), apart));
  const Projection fc3 =
      apart ? Projection(context.input(6), OptionalInput(context, 7), width) : Projection();
  Mix(context, attributes, fc1, fc2, fc3, context.input_count());
}

void RunQuantizedMoe(KernelContext& context, const ExpertAttributes& attributes) {
  const int64_t width = context.input(0).dim(-1);
  const bool apart = context.has_input(8);
  const auto read = [&](size_t first, size_t zeros, int index, int64_t inputs) {
    return Projection(context.input(first), context.input(first + 1), OptionalInput(context, zeros),
                      OptionalInput(context, first + 2), attributes.bits[index], attributes.block,
                      inputs);
  };
  const Projection fc1 = read(2, 11, 0, width);
  const Projection fc2 = read(5, 12, 1, Intermediate(attributes, fc1.outputs(), apart));
  const Projection fc3 = apart ? read(8, 13, 2, width) : Projection();
  Mix(context, attributes, fc1, fc2, fc3, 14);
}

}  // namespace

/// com.microsoft MoE: input, router logits, fc1 weights, bias?, fc2 weights, bias?, fc3 weights?,
/// bias?.
std::unique_ptr<Kernel> MakeMoe(const Node& node) {
  const ExpertAttributes attributes = ReadExpertAttributes(node);
  return MakeKernel([attributes](KernelContext& context) { RunMoe(context, attributes); });
}

/// com.microsoft QMoE: the same with (weights, scales, bias?) per projection from input 2, packed
/// zero points at 11 to 13 and mixing weights at 14. Always computed in float32.
std::unique_ptr<Kernel> MakeQuantizedMoe(const Node& node) {
  ExpertAttributes attributes = ReadExpertAttributes(node);
  // Unlike MoE, ONNX Runtime's QMoE always takes the softmax over the chosen experts alone.
  if (!node.has_input(14)) attributes.normalize = true;
  return MakeKernel([attributes](KernelContext& context) { RunQuantizedMoe(context, attributes); });
}

}  // namespace ptq
