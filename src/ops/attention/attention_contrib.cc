// com.microsoft Attention and QAttention: the packed projection to queries, keys and values, then
// attention.
#include <vector>

#include "arguments.h"
#include "array.h"
#include "attention_core.h"
#include "kv_cache.h"
#include "makers.h"
#include "padding_mask.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Attention's inputs, in its order.
struct PackedInputs {
  Tensor x, weights, bias, mask, past, attention_bias;
};

struct PackedAttributes {
  int64_t heads;
  float scale;
  float filter;
  bool causal;
  Shape sizes;  ///< hidden sizes of Q, K, V; empty: a third each
};

/// Hidden sizes of Q, K and V for a weight of `columns` columns.
Shape HiddenSizes(const PackedAttributes& attributes, int64_t columns) {
  Shape sizes = attributes.sizes;
  if (sizes.empty()) sizes.assign(3, columns / 3);
  bool fits = sizes.size() == 3 && sizes[0] == sizes[1];
  for (const int64_t size : sizes) {
    fits = fits && size > 0 && size <= columns && size % attributes.heads == 0;
  }
  fits = fits && sizes[0] + sizes[1] + sizes[2] == columns;
  if (!fits) {
    throw InputError("Attention: " + std::to_string(columns) +
                     " columns of the packed weight do not divide into Q, K and V of " +
                     std::to_string(attributes.heads) + " heads");
  }
  return sizes;
}

/// X · W + bias, [B, T, Q + K + V].
Tensor Project(const PackedInputs& inputs) {
  const Tensor& x = inputs.x;
  const Tensor& w = inputs.weights;
  if (x.rank() != 3 || w.rank() != 2 || x.dim(2) != w.dim(0)) {
    throw InputError("Attention: input " + ToString(x.shape()) + " and weights " +
                     ToString(w.shape()) + " do not fit");
  }
  const int64_t rows = x.dim(0) * x.dim(1);
  const int64_t columns = w.dim(1);
  Tensor out(DType::kFloat32, {x.dim(0), x.dim(1), columns});
  float* y = out.mutable_data<float>().data();
  const bool biased = inputs.bias.defined();
  if (biased) {
    const auto bias = inputs.bias.data<float>();
    if (static_cast<int64_t>(bias.size()) != columns) {
      throw InputError("Attention: bias does not have one value per column of the weights");
    }
    for (int64_t row = 0; row < rows; ++row) std::copy(bias.begin(), bias.end(), y + row * columns);
  }
  Gemm(1.0f, {x.data<float>().data(), rows, w.dim(0), w.dim(0)},
       {w.data<float>().data(), w.dim(0), columns, columns}, biased ? 1.0f : 0.0f, y, columns);
  return out;
}

/// The cache [2, B, H, P + T, D] of keys, then values; replaces the views of the new ones.
Tensor MakePresent(const Tensor& past, AttentionProblem& problem) {
  if (problem.head_size != problem.value_size) {
    throw InputError("Attention: a cache needs keys and values of the same size");
  }
  const int64_t past_tokens = past.defined() && past.rank() == 5 ? past.dim(3) : 0;
  const Shape expected = {2, problem.batches, problem.heads, past_tokens, problem.head_size};
  if (past.defined() && past.shape() != expected) {
    throw InputError("Attention: past has shape " + ToString(past.shape()) + ", expected " +
                     ToString(expected));
  }
  const int64_t total = past_tokens + problem.keys;
  Tensor present(DType::kFloat32, {2, problem.batches, problem.heads, total, problem.head_size});
  const std::span<float> out = present.mutable_data<float>();
  const auto old = past.defined() ? past.data<float>() : std::span<const float>();
  const Shape used(static_cast<size_t>(problem.batches), past_tokens);
  const size_t half = out.size() / 2;
  HeadView<const float>* views[] = {&problem.k, &problem.v};
  for (size_t i = 0; i < 2; ++i) {
    AppendTokensTo(out.subspan(i * half, half), old.subspan(i * old.size() / 2, old.size() / 2),
                   past_tokens, used, *views[i], problem.heads, problem.keys, problem.head_size,
                   total);
    *views[i] = HeadsFirst(out.subspan(i * half, half), problem.heads, total, problem.head_size);
  }
  problem.keys = total;
  problem.offset = used;
  return present;
}

void RunPackedAttention(KernelContext& context, const PackedAttributes& attributes,
                        const PackedInputs& inputs) {
  const Tensor qkv = Project(inputs);
  const int64_t columns = qkv.dim(2);
  const Shape sizes = HiddenSizes(attributes, columns);
  AttentionProblem problem;
  problem.batches = qkv.dim(0);
  problem.queries = problem.keys = qkv.dim(1);
  problem.heads = problem.kv_heads = attributes.heads;
  problem.head_size = sizes[0] / attributes.heads;
  problem.value_size = sizes[2] / attributes.heads;
  const std::span<const float> data = qkv.data<float>();
  const auto from = [&](int64_t column) {
    return data.subspan(std::min(data.size(), static_cast<size_t>(column)));
  };
  problem.q = TokensFirst(data, problem.queries, columns, problem.head_size);
  problem.k = TokensFirst(from(sizes[0]), problem.queries, columns, problem.head_size);
  problem.v = TokensFirst(from(sizes[0] + sizes[1]), problem.queries, columns, problem.value_size);
  problem.scale =
      attributes.scale != 0.0f ? attributes.scale : DefaultAttentionScale(problem.head_size);
  problem.causal = attributes.causal;
  Tensor present;
  if (inputs.past.defined() || context.wants(1)) present = MakePresent(inputs.past, problem);

  const int64_t past = problem.keys - problem.queries;
  Tensor padding;
  if (inputs.mask.defined()) {
    padding = PaddingMaskBias(inputs.mask, {problem.batches, problem.queries, past, problem.keys},
                              attributes.filter);
  }
  const auto add = [&](const Tensor& bias) {
    problem.biases.push_back(
        BroadcastBias(bias, problem.batches, problem.heads, problem.queries, problem.keys));
  };
  if (padding.defined()) add(padding);
  if (inputs.attention_bias.defined()) add(inputs.attention_bias);
  Tensor out(DType::kFloat32, {problem.batches, problem.queries, sizes[2]});
  const std::span<float> result = out.mutable_data<float>();
  problem.out =
      Writable(TokensFirst(result, problem.queries, sizes[2], problem.value_size), result);
  RunAttention(problem);
  context.set_output(0, std::move(out));
  if (present.defined()) context.set_output(1, std::move(present));
}

PackedAttributes ReadPackedAttributes(const Node& node) {
  for (const char* name : {"do_rotary", "past_present_share_buffer"}) {
    if (node.Int(name, 0) != 0) {
      throw UnsupportedError("node '" + node.name() + "': Attention with " + name +
                             " is not supported (nor is it by ONNX Runtime on CPU)");
    }
  }
  return {HeadCount(node, "num_heads"), node.Float("scale", 0.0f),
          node.Float("mask_filter_value", -10000.0f), node.Int("unidirectional", 0) != 0,
          node.Ints("qkv_hidden_sizes")};
}

}  // namespace

/// com.microsoft Attention: input[B, T, in], weights[in, Q + K + V], bias?, mask?, past?,
/// attention bias? -> Y[B, T, V], present?.
std::unique_ptr<Kernel> MakeAttentionContrib(const Node& node) {
  return MakeKernel([attributes = ReadPackedAttributes(node)](KernelContext& context) {
    RunPackedAttention(
        context, attributes,
        {context.input(0), context.input(1), OptionalInput(context, 2), OptionalInput(context, 3),
         OptionalInput(context, 4), OptionalInput(context, 5)});
  });
}

/// com.microsoft QAttention: input and weights as codes, bias, input scale, weight scale (one, or
/// one per column), mask?, zero points?, past?.
std::unique_ptr<Kernel> MakeQAttention(const Node& node) {
  const std::shared_ptr<const Kernel> dequantize = MakeDequantizeLinear(node);
  return MakeKernel([dequantize, attributes = ReadPackedAttributes(node)](KernelContext& context) {
    const auto read = [&](size_t codes, size_t scale, size_t zero) {
      return RunKernel(*dequantize,
                       {context.input(codes), context.input(scale), OptionalInput(context, zero)});
    };
    RunPackedAttention(context, attributes,
                       {read(0, 3, 6),
                        read(1, 4, 7),
                        OptionalInput(context, 2),
                        OptionalInput(context, 5),
                        OptionalInput(context, 8),
                        {}});
  });
}

}  // namespace ptq
