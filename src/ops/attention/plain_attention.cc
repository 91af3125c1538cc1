// Runs fused attention as a whole where its operands fit, else node by node as the graph has it.
#include "ptq/ops/plain_attention.h"

#include <cmath>
#include <limits>
#include <optional>

#include "array.h"
#include "attention_core.h"

namespace ptq {
namespace {

/// exp(x) is exactly zero in binary32 below this.
constexpr float kVanishes = 88.0f;
/// A fill of Where that stands for "not this key".
constexpr float kMasked = -1e4f;

using Rows = Eigen::Map<const Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

/// The longest vector in a stack of matrices whose rows (or columns) are vectors.
float LargestNorm(const Tensor& x, bool by_row) {
  const int64_t rows = x.dim(-2), cols = x.dim(-1);
  const float* data = x.data<float>().data();
  float largest = 0;
  for (int64_t at = 0; at < x.size(); at += rows * cols) {
    const Rows matrix(data + at, rows, cols);
    const float found = by_row ? matrix.square().rowwise().sum().maxCoeff<Eigen::PropagateNaN>()
                               : matrix.square().colwise().sum().maxCoeff<Eigen::PropagateNaN>();
    if (!(found <= largest)) largest = found;
  }
  return std::sqrt(largest);
}

std::optional<float> ScalarOf(const Tensor& x) {
  if (x.dtype() != DType::kFloat32 || x.size() != 1) return std::nullopt;
  return x.data<float>()[0];
}

HeadView<const float> Heads(const Tensor& x) {
  const int64_t matrix = x.dim(-2) * x.dim(-1);
  return {x.data<float>(), x.dim(-3) * matrix, matrix, x.dim(-1)};
}

class PlainAttentionKernel : public Kernel {
 public:
  PlainAttentionKernel(PlainAttention attention, size_t inputs,
                       const std::vector<AttentionPart>& parts)
      : attention_(std::move(attention)), inputs_(inputs) {
    for (const AttentionPart& part : parts) {
      parts_.push_back({CreateKernel(*part.node), part.inputs});
    }
  }

  void Run(KernelContext& context) const override {
    if (std::optional<Tensor> out = RunWhole(context)) {
      context.set_output(0, std::move(*out));
    } else {
      RunParts(context);
    }
  }

 private:
  struct Part {
    std::unique_ptr<Kernel> kernel;
    std::vector<int> inputs;
  };

  /// The scores' terms: a factor and biases with the shapes of the graph's operands.
  struct Terms {
    float scale = 1.0f;
    std::vector<Tensor> biases;
    float fill = -std::numeric_limits<float>::infinity();  ///< largest of Where
  };

  void RunParts(KernelContext& context) const {
    std::vector<Tensor> slots;
    for (size_t i = 0; i < inputs_; ++i) slots.push_back(context.input(i));
    for (const Part& part : parts_) {
      std::vector<Tensor> inputs;
      for (const int slot : part.inputs) {
        inputs.push_back(slot < 0 ? Tensor() : slots[static_cast<size_t>(slot)]);
      }
      KernelContext own(std::move(inputs), 1, {true});
      part.kernel->Run(own);
      slots.push_back(own.outputs()[0].Widened());
    }
    context.set_output(0, std::move(slots.back()));
  }

  [[nodiscard]] const Tensor& Input(const KernelContext& context, int i) const {
    return context.input(static_cast<size_t>(i));
  }

  /// Nothing when an operand is not what the fused form takes.
  [[nodiscard]] std::optional<Terms> ReadTerms(const KernelContext& context) const {
    Terms terms;
    for (const ScoreStep& step : attention_.steps) {
      const Tensor& operand = Input(context, step.operand);
      if (step.kind == ScoreStep::Kind::kAdd) {
        if (operand.dtype() != DType::kFloat32) return std::nullopt;
        terms.biases.push_back(operand);
      } else if (step.kind == ScoreStep::Kind::kWhere) {
        const auto fill = ScalarOf(Input(context, step.fill));
        if (!fill.has_value() || !(*fill <= kMasked) || operand.dtype() != DType::kBool) {
          return std::nullopt;
        }
        Tensor bias(DType::kFloat32, operand.shape());
        std::ranges::transform(operand.data<bool>(), bias.mutable_data<float>().begin(),
                               [&](bool kept) { return kept ? 0.0f : *fill; });
        terms.biases.push_back(std::move(bias));
        terms.fill = std::max(terms.fill, *fill);
      } else {
        const auto factor = ScalarOf(operand);
        if (!factor.has_value() || !terms.biases.empty()) return std::nullopt;
        terms.scale =
            step.kind == ScoreStep::Kind::kMul ? terms.scale * *factor : terms.scale / *factor;
      }
    }
    return terms;
  }

  /// Sizes and operands; nothing when they do not fit the fused form.
  [[nodiscard]] std::optional<AttentionProblem> Pose(const Tensor& q, const Tensor& k,
                                                     const Tensor& v) const {
    const int64_t rank = q.rank();
    if (rank < 3 || rank > 4 || k.rank() != rank || v.rank() != rank) return std::nullopt;
    if (attention_.softmax_axis != -1 && attention_.softmax_axis != rank - 1) return std::nullopt;
    for (int64_t d = 0; d < rank - 2; ++d) {
      if (k.dim(d) != q.dim(d) || v.dim(d) != q.dim(d)) return std::nullopt;
    }
    AttentionProblem p;
    p.batches = rank == 4 ? q.dim(0) : 1;
    p.heads = p.kv_heads = q.dim(-3);
    p.queries = q.dim(-2);
    p.head_size = q.dim(-1);
    p.keys = v.dim(-2);
    p.value_size = v.dim(-1);
    p.keys_by_column = !attention_.keys_by_row;
    p.half_probabilities = attention_.half_probabilities;
    const bool fits = k.dim(attention_.keys_by_row ? -1 : -2) == p.head_size &&
                      k.dim(attention_.keys_by_row ? -2 : -1) == p.keys;
    if (!fits || q.size() == 0 || k.size() == 0 || v.size() == 0) return std::nullopt;
    p.q = Heads(q);
    p.k = Heads(k);
    p.v = Heads(v);
    return p;
  }

  [[nodiscard]] static std::optional<ScoreBias> BiasOf(const Tensor& bias,
                                                       const AttentionProblem& p) {
    const Shape scores = {p.batches, p.heads, p.queries, p.keys};
    if (bias.rank() > 4) return std::nullopt;
    for (int64_t d = 1; d <= bias.rank(); ++d) {
      const int64_t full = scores[static_cast<size_t>(4 - d)];
      if (bias.dim(-d) != 1 && bias.dim(-d) != full) return std::nullopt;
    }
    const auto strides = BroadcastStrides(bias.shape(), scores);
    return ScoreBias{bias.data<float>(), strides[0], strides[1], strides[2], strides[3], p.keys};
  }

  /// For each query the keys whose probability is not exactly zero. A score is at most |q||k| away
  /// from zero, so a bias that lies more than twice that and kVanishes below the row's largest
  /// cannot be made up for. False when a query has no key at all and Where fills its row.
  static bool LimitKeys(const Terms& terms, float bound, AttentionProblem& p) {
    const ScoreBias& bias = p.biases.front();
    p.row_keys.resize(static_cast<size_t>(p.batches * p.queries));
    for (int64_t b = 0; b < p.batches; ++b) {
      for (int64_t t = 0; t < p.queries; ++t) {
        const float* row = bias.data.data() + b * bias.batch + t * bias.query;
        float largest = -std::numeric_limits<float>::infinity();
        for (int64_t s = 0; s < p.keys; ++s) largest = std::max(largest, row[s * bias.key]);
        if (largest <= terms.fill && terms.fill > -std::numeric_limits<float>::infinity()) {
          return false;
        }
        const float limit = largest - 2 * bound - kVanishes;
        int64_t begin = 0, end = p.keys;
        while (begin < end && !(row[begin * bias.key] > limit)) ++begin;
        while (end > begin && !(row[(end - 1) * bias.key] > limit)) --end;
        p.row_keys[static_cast<size_t>(b * p.queries + t)] = {begin, end};
      }
    }
    return true;
  }

  static bool MayLeaveNoKeys(const Terms& terms) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return terms.fill > -kInfinity || std::ranges::any_of(terms.biases, [](const Tensor& bias) {
             return std::ranges::count(bias.data<float>(), -kInfinity) > 0;
           });
  }

  /// The result of a softmax over nothing but -infinity.
  void FillRowsWithoutKeys(const AttentionProblem& p) const {
    if (attention_.guarded) return;
    for (int64_t row = 0; row < static_cast<int64_t>(p.row_keys.size()); ++row) {
      const auto& [begin, end] = p.row_keys[static_cast<size_t>(row)];
      if (begin < end) continue;
      for (int64_t h = 0; h < p.heads; ++h) {
        std::fill_n(p.out.At(row / p.queries, h, row % p.queries), p.value_size,
                    std::numeric_limits<float>::quiet_NaN());
      }
    }
  }

  [[nodiscard]] std::optional<Tensor> RunWhole(const KernelContext& context) const {
    const Tensor& q = Input(context, attention_.q);
    const Tensor& k = Input(context, attention_.k);
    const Tensor& v = Input(context, attention_.v);
    for (const Tensor* x : {&q, &k, &v}) {
      if (x->dtype() != DType::kFloat32) return std::nullopt;
    }
    std::optional<AttentionProblem> problem = Pose(q, k, v);
    const std::optional<Terms> terms = ReadTerms(context);
    if (!problem.has_value() || !terms.has_value()) return std::nullopt;
    AttentionProblem& p = *problem;
    p.scale = terms->scale;
    for (const Tensor& bias : terms->biases) {
      const auto view = BiasOf(bias, p);
      if (!view.has_value()) return std::nullopt;
      p.biases.push_back(*view);
    }
    if (p.biases.size() > 1 || (!p.biases.empty() && p.biases.front().head != 0)) {
      // With several biases, or one for each head, the keys in use are not known beforehand, and
      // neither is whether a query has any.
      if (!attention_.guarded && MayLeaveNoKeys(*terms)) return std::nullopt;
    } else if (!p.biases.empty()) {
      const float bound =
          std::abs(p.scale) * LargestNorm(q, true) * LargestNorm(k, attention_.keys_by_row);
      if (!std::isfinite(bound) || !LimitKeys(*terms, bound, p)) return std::nullopt;
    }
    Shape shape = q.shape();
    shape.back() = p.value_size;
    Tensor out(DType::kFloat32, shape);
    p.out = {out.mutable_data<float>(), p.heads * p.queries * p.value_size,
             p.queries * p.value_size, p.value_size};
    RunAttention(p);
    FillRowsWithoutKeys(p);
    return out;
  }

  PlainAttention attention_;
  size_t inputs_;
  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<Kernel> MakePlainAttention(PlainAttention attention, size_t inputs,
                                           const std::vector<AttentionPart>& parts) {
  return std::make_unique<PlainAttentionKernel>(std::move(attention), inputs, parts);
}

}  // namespace ptq
