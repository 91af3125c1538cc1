// com.microsoft RelativePositionBias (T5) and GatedRelativePositionBias (WavLM), which ONNX
// Runtime's transformer optimizer writes.
#include <cmath>
#include <vector>

#include "arguments.h"
#include "array.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// The bucket of T5 (Raffel et al. 2020) for a key `distance` tokens after its query: exact for
/// near ones, logarithmic up to `most`.
int64_t Bucket(int64_t distance, int64_t buckets, int64_t most, bool both_ways) {
  int64_t bucket = 0;
  if (both_ways) {
    buckets /= 2;
    if (distance > 0) bucket = buckets;
    distance = std::abs(distance);
  } else {
    distance = std::max<int64_t>(0, -distance);
  }
  const int64_t exact = buckets / 2;
  if (distance < exact) return bucket + distance;
  // Not a number, or infinite, where `most` is not above `exact`.
  const float steps = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                      std::log(static_cast<float>(most) / static_cast<float>(exact)) *
                      static_cast<float>(buckets - exact);
  if (!(steps < static_cast<float>(buckets - exact))) return bucket + buckets - 1;
  return bucket + std::max(exact, exact + static_cast<int64_t>(steps));
}

void RunRelativeBias(KernelContext& context, int64_t most, bool both_ways) {
  const Tensor& table = context.input(0);
  const int64_t queries = ScalarInput(context, 1);
  const int64_t keys = ScalarInput(context, 2);
  if (table.rank() != 2 || table.dim(0) < 4 || queries < 0 || keys < queries) {
    throw InputError("RelativePositionBias: a table of shape " + ToString(table.shape()) + " for " +
                     std::to_string(queries) + " queries and " + std::to_string(keys) + " keys");
  }
  const int64_t heads = table.dim(1);
  Tensor out(DType::kFloat32, {1, heads, queries, keys});
  float* to = out.mutable_data<float>().data();
  const float* from = table.data<float>().data();
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t q = 0; q < queries; ++q) {
      for (int64_t k = 0; k < keys; ++k) {
        *to++ = from[Bucket(k - q, table.dim(0), most, both_ways) * heads + head];
      }
    }
  }
  context.set_output(0, std::move(out));
}

/// Inputs: query [B, T, H·D], its bias [H·D], rel_pos [1, H, T, T], weight [D, 2G], bias [2G],
/// eco_a [H]. Each gate is the sigmoid of a sum over one half of the projection.
void RunGatedBias(KernelContext& context, int64_t heads) {
  const Tensor& query = context.input(0);
  const Tensor& weight = context.input(3);
  if (context.has_input(6)) {
    throw UnsupportedError("GatedRelativePositionBias of packed sequences is not supported");
  }
  if (query.rank() != 3 || weight.rank() != 2 || query.dim(2) != heads * weight.dim(0) ||
      weight.dim(1) % 2 != 0) {
    throw InputError("GatedRelativePositionBias: query " + ToString(query.shape()) +
                     " and weight " + ToString(weight.shape()) + " do not fit");
  }
  const int64_t batches = query.dim(0);
  const int64_t tokens = query.dim(1);
  const int64_t size = weight.dim(0);
  const int64_t width = weight.dim(1);
  const Tensor& relative = context.input(2);
  if (context.input(1).size() != heads * size || relative.size() != heads * tokens * tokens ||
      context.input(4).size() != width || context.input(5).size() != heads) {
    throw InputError("GatedRelativePositionBias: biases, rel_pos or eco_a do not fit the query");
  }
  const int64_t rows = batches * tokens * heads;
  std::vector<float> shifted(static_cast<size_t>(query.size()));
  for (int64_t i = 0; i < query.size(); ++i) {
    shifted[static_cast<size_t>(i)] =
        query.data<float>()[static_cast<size_t>(i)] +
        context.input(1).data<float>()[static_cast<size_t>(i % (heads * size))];
  }
  std::vector<float> projected(static_cast<size_t>(rows * width));
  Gemm(1.0f, {shifted.data(), rows, size, size}, {weight.data<float>().data(), size, width, width},
       0.0f, projected.data(), width);
  const ConstArrayMap<float> bias(context.input(4).data<float>().data(), width);
  Tensor out(DType::kFloat32, {batches, heads, tokens, tokens});
  float* to = out.mutable_data<float>().data();
  for (int64_t i = 0; i < batches * heads * tokens; ++i) {
    const int64_t token = i % tokens;
    const int64_t head = i / tokens % heads;
    const int64_t batch = i / tokens / heads;
    const ConstArrayMap<float> row(
        projected.data() + ((batch * tokens + token) * heads + head) * width, width);
    const auto gate = [&](int64_t half) {
      const float sum = (row + bias).segment(half * width / 2, width / 2).sum();
      return 1.0f / (1.0f + std::exp(-sum));
    };
    const float scale = context.input(5).data<float>()[static_cast<size_t>(head)];
    const float factor = gate(0) * (gate(1) * scale - 1.0f) + 2.0f;
    ArrayMap<float>(to + i * tokens, tokens) =
        factor * ConstArrayMap<float>(
                     relative.data<float>().data() + (head * tokens + token) * tokens, tokens);
  }
  context.set_output(0, std::move(out));
}

}  // namespace

/// com.microsoft RelativePositionBias: table[buckets, H], queries, keys -> [1, H, queries, keys].
std::unique_ptr<Kernel> MakeRelativePositionBias(const Node& node) {
  return MakeKernel([most = node.RequiredInt("max_distance"),
                     both_ways = node.Int("is_bidirectional", 0) != 0](KernelContext& context) {
    RunRelativeBias(context, most, both_ways);
  });
}

/// com.microsoft GatedRelativePositionBias; inputs as above.
std::unique_ptr<Kernel> MakeGatedRelativePositionBias(const Node& node) {
  return MakeKernel([heads = HeadCount(node, "num_heads")](KernelContext& context) {
    RunGatedBias(context, heads);
  });
}

}  // namespace ptq
