// com.microsoft LinearAttention and LinearAttentionGate: attention by a recurrent state per head
// (gated linear attention, DeltaNet and gated DeltaNet).
#include <cmath>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "attention_core.h"
#include "vector_math.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct LinearInput {
  enum : size_t { kQuery, kKey, kValue, kPast, kDecay, kBeta };
};

struct LinearAttributes {
  int64_t heads;
  int64_t kv_heads;
  bool decays;  ///< S is multiplied by exp(g) first
  bool delta;   ///< the value written is beta · (v - Sᵀ k), not v
  float scale;
};

LinearAttributes ReadLinearAttributes(const Node& node) {
  const std::string rule = node.String("update_rule", "gated_delta");
  if (rule != "linear" && rule != "gated" && rule != "delta" && rule != "gated_delta") {
    throw UnsupportedError("node '" + node.name() + "': update_rule '" + rule +
                           "' is not supported");
  }
  if (node.Int("state_window", 0) != 0) {
    throw UnsupportedError("node '" + node.name() +
                           "': state_window is not supported (nor is it by ONNX Runtime on CPU)");
  }
  const LinearAttributes attributes{HeadCount(node, "q_num_heads"), HeadCount(node, "kv_num_heads"),
                                    rule.starts_with("gated"), rule.ends_with("delta"),
                                    node.Float("scale", 0.0f)};
  const int64_t more = std::max(attributes.heads, attributes.kv_heads);
  const int64_t fewer = std::min(attributes.heads, attributes.kv_heads);
  if (more % fewer != 0) {
    throw InputError("node '" + node.name() + "': " + std::to_string(attributes.heads) +
                     " query heads do not fit " + std::to_string(attributes.kv_heads) +
                     " key heads");
  }
  return attributes;
}

/// What the recurrence reads, all [B, T, width].
struct LinearOperands {
  int64_t batches, tokens, key_size, value_size;
  int64_t key_heads;  ///< may be fewer than those of the values, which then share them
  const float* q;
  const float* k;
  const float* v;
  const float* decay = nullptr;
  const float* beta = nullptr;
  int64_t decay_width = 0;
  int64_t beta_width = 0;
};

/// The width of an operand [B, T, width].
int64_t WidthOf(const KernelContext& context, size_t input, const Shape& query) {
  const Shape& shape = context.input(input).shape();
  if (shape.size() != 3 || query.size() != 3 || shape[0] != query[0] || shape[1] != query[1]) {
    throw InputError("LinearAttention: input " + std::to_string(input) + " of shape " +
                     ToString(shape) + " does not fit the query's " + ToString(query));
  }
  return shape[2];
}

LinearOperands ReadOperands(const KernelContext& context, const LinearAttributes& a) {
  const Shape& query = context.input(LinearInput::kQuery).shape();
  const int64_t q_width = WidthOf(context, LinearInput::kQuery, query);
  const int64_t k_width = WidthOf(context, LinearInput::kKey, query);
  const int64_t v_width = WidthOf(context, LinearInput::kValue, query);
  const int64_t key_size = q_width / a.heads;
  const int64_t key_heads = key_size > 0 ? k_width / key_size : 0;
  if (q_width % a.heads != 0 || key_heads == 0 || k_width % key_size != 0 ||
      a.kv_heads % key_heads != 0 || v_width % a.kv_heads != 0) {
    throw InputError("LinearAttention: query, key and value of " + std::to_string(q_width) + ", " +
                     std::to_string(k_width) + " and " + std::to_string(v_width) +
                     " channels do not divide into the heads");
  }
  const auto data = [&](size_t input) { return context.input(input).data<float>().data(); };
  LinearOperands o{query[0],
                   query[1],
                   key_size,
                   v_width / a.kv_heads,
                   key_heads,
                   data(LinearInput::kQuery),
                   data(LinearInput::kKey),
                   data(LinearInput::kValue)};
  if (a.decays) {
    o.decay_width = WidthOf(context, LinearInput::kDecay, query);
    o.decay = data(LinearInput::kDecay);
    if (o.decay_width != a.kv_heads && o.decay_width != a.kv_heads * key_size) {
      throw InputError("LinearAttention: a decay of " + std::to_string(o.decay_width) +
                       " channels is neither per head nor per key channel");
    }
  }
  if (a.delta) {
    o.beta_width = WidthOf(context, LinearInput::kBeta, query);
    o.beta = data(LinearInput::kBeta);
    if (o.beta_width != a.kv_heads && o.beta_width != 1) {
      throw InputError("LinearAttention: beta of " + std::to_string(o.beta_width) +
                       " channels is not per head");
    }
  }
  return o;
}

/// One value head of one sequence: its state S[key_size, value_size], token by token.
class Head {
 public:
  Head(const LinearAttributes& a, const LinearOperands& o, int64_t batch, int64_t head,
       float* state)
      : a_(a),
        o_(o),
        batch_(batch),
        head_(head),
        state_(state),
        written_(static_cast<size_t>(o.value_size)) {}

  void Update(int64_t t) {
    const int64_t token = batch_ * o_.tokens + t;
    if (a_.decays) Decay(o_.decay + token * o_.decay_width);
    const float* k =
        o_.k + (token * o_.key_heads + head_ / (a_.kv_heads / o_.key_heads)) * o_.key_size;
    ArrayMap<float> write(written_.data(), o_.value_size);
    write =
        ConstArrayMap<float>(o_.v + (token * a_.kv_heads + head_) * o_.value_size, o_.value_size);
    if (a_.delta) {
      for (int64_t i = 0; i < o_.key_size; ++i) write -= k[i] * Row(i);
      write *= o_.beta[token * o_.beta_width + (o_.beta_width == 1 ? 0 : head_)];
    }
    for (int64_t i = 0; i < o_.key_size; ++i) Row(i) += k[i] * write;
  }

  /// out[value_size] = scale · Sᵀ q for one query head.
  void Read(int64_t t, int64_t query_head, float scale, float* out) {
    const int64_t token = batch_ * o_.tokens + t;
    const float* q = o_.q + (token * a_.heads + query_head) * o_.key_size;
    ArrayMap<float> y(out, o_.value_size);
    y.setZero();
    for (int64_t i = 0; i < o_.key_size; ++i) y += scale * q[i] * Row(i);
  }

 private:
  ArrayMap<float> Row(int64_t i) { return {state_ + i * o_.value_size, o_.value_size}; }

  void Decay(const float* decay) {
    const bool per_head = o_.decay_width == a_.kv_heads;
    if (per_head) {
      ArrayMap<float>(state_, o_.key_size * o_.value_size) *= std::exp(decay[head_]);
      return;
    }
    for (int64_t i = 0; i < o_.key_size; ++i) Row(i) *= std::exp(decay[head_ * o_.key_size + i]);
  }

  const LinearAttributes& a_;
  const LinearOperands& o_;
  const int64_t batch_;
  const int64_t head_;
  float* state_;
  std::vector<float> written_;  ///< what the token adds, per unit of its key
};

void RunLinearAttention(KernelContext& context, const LinearAttributes& a) {
  const LinearOperands o = ReadOperands(context, a);
  const int64_t out_heads = std::max(a.heads, a.kv_heads);
  const float scale = a.scale != 0.0f ? a.scale : DefaultAttentionScale(o.key_size);
  const int64_t state_size = o.key_size * o.value_size;
  const Shape shape = {o.batches, a.kv_heads, o.key_size, o.value_size};
  const Tensor past =
      context.has_input(LinearInput::kPast) ? context.input(LinearInput::kPast) : Tensor();
  if (past.defined() && past.shape() != shape) {
    throw InputError("LinearAttention: past_state has shape " + ToString(past.shape()) +
                     ", expected " + ToString(shape));
  }
  Tensor present = past.defined() ? past : Tensor::Filled<float>(shape, 0.0f);
  Tensor out(DType::kFloat32, {o.batches, o.tokens, out_heads * o.value_size});
  float* y = out.mutable_data<float>().data();
  float* states = present.mutable_data<float>().data();
  ParallelFor(o.batches * a.kv_heads, [&](int64_t i) {
    const int64_t batch = i / a.kv_heads;
    const int64_t head = i % a.kv_heads;
    Head recurrence(a, o, batch, head, states + i * state_size);
    const int64_t served = out_heads / a.kv_heads;
    for (int64_t t = 0; t < o.tokens; ++t) {
      recurrence.Update(t);
      for (int64_t r = 0; r < served; ++r) {
        const int64_t out_head = head * served + r;
        const int64_t query_head = out_head / (out_heads / a.heads);
        recurrence.Read(t, query_head, scale,
                        y + ((batch * o.tokens + t) * out_heads + out_head) * o.value_size);
      }
    }
  });
  context.set_output(0, std::move(out));
  context.set_output(1, std::move(present));
}

/// decay = decay_scale · softplus(a + dt_bias), beta = sigmoid(b), all over the last axis.
void RunGate(KernelContext& context) {
  const Tensor& a = context.input(0);
  const int64_t heads = a.rank() > 0 ? a.dim(-1) : 0;
  if (context.input(1).size() != heads || context.input(2).size() != heads) {
    throw InputError("LinearAttentionGate: dt_bias and decay_scale must have one value per head");
  }
  const float* bias = context.input(1).data<float>().data();
  const float* scale = context.input(2).data<float>().data();
  Tensor decay(DType::kFloat32, a.shape());
  const auto from = a.data<float>();
  const auto to = decay.mutable_data<float>();
  for (size_t i = 0; i < from.size(); ++i) {
    const auto head = static_cast<int64_t>(i) % heads;
    const float x = from[i] + bias[head];
    to[i] = scale[head] * (std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))));
  }
  if (context.wants(1)) {
    Tensor beta(DType::kFloat32, context.input(3).shape());
    const auto b = context.input(3).data<float>();
    SigmoidArray(b.data(), beta.mutable_data<float>().data(), beta.size());
    context.set_output(1, std::move(beta));
  }
  context.set_output(0, std::move(decay));
}

}  // namespace

/// com.microsoft LinearAttention: query, key, value, past state?, decay?, beta? -> Y, state.
std::unique_ptr<Kernel> MakeLinearAttention(const Node& node) {
  return MakeKernel([attributes = ReadLinearAttributes(node)](KernelContext& context) {
    RunLinearAttention(context, attributes);
  });
}

/// com.microsoft LinearAttentionGate: a, dt_bias, decay_scale, b? -> decay, beta?.
std::unique_ptr<Kernel> MakeLinearAttentionGate(const Node&) { return MakeKernel(RunGate); }

}  // namespace ptq
