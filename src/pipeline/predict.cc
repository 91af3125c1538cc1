#include "predict.h"

#include <algorithm>
#include <set>

namespace ptq {
namespace {

constexpr int64_t kLeastIdle = 32 << 20;
constexpr int64_t kMostIdle = 256 << 20;
/// Code, libraries and their tables.
constexpr int64_t kProgramBytes = 40 << 20;

int64_t InlineBytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const Value& value : graph.values()) {
    if (value.constant == nullptr) continue;
    if (value.constant->data_location() == onnx::TensorProto::EXTERNAL) continue;
    bytes += static_cast<int64_t>(value.constant->ByteSizeLong());
  }
  return bytes;
}

}  // namespace

int64_t StoredBytes(const Graph& graph, const Linear& linear) {
  if (linear.stored == kNoValue) return 0;
  const onnx::TensorProto& tensor = *graph.value(linear.stored).constant;
  int64_t elements = 1;
  for (const int64_t dim : tensor.dims()) elements *= dim;
  return BytesOf(DType(tensor.data_type()), elements);
}

int64_t ResultBytes(const Linear& linear) {
  if (linear.decision == Decision::kHalf) return 2 * linear.n * linear.k;
  const int64_t group = linear.spec.GroupSizeFor(linear.k);
  const int64_t groups = linear.spec.GroupsFor(linear.k);
  const int64_t scale_bytes = linear.spec.scale_type == ScaleType::kFloat32 ? 4 : 2;
  int64_t bytes = linear.n * groups * (group * linear.spec.bits / 8 + scale_bytes);
  if (!linear.spec.symmetric) bytes += linear.n * ((groups * linear.spec.bits + 7) / 8);
  return bytes;
}

int64_t IdleBytes(const Graph& graph, const Plan& plan) {
  int64_t stored = 0;
  for (const Linear& linear : plan.linears) stored += StoredBytes(graph, linear);
  return std::clamp(stored / 4, kLeastIdle, kMostIdle);
}

int64_t PredictPeakBytes(const Executor& executor, const Plan& plan, int64_t tokens) {
  std::vector<int64_t> segment_bytes(executor.plan().segments().size(), 0);
  int64_t width = 0;  // of the residual stream: what most linears read
  for (const Site& site : plan.sites) {
    const int64_t k = plan.linears[size_t(site.linears.front())].k;
    const int64_t held = std::min(tokens, kMicroBatchTokens);
    int64_t bytes = tokens > 0 ? k * k * 4 + held * k * 4 : 0;
    int64_t largest = 0;
    for (const int linear : site.linears) {
      const Linear& own = plan.linears[size_t(linear)];
      bytes += own.n * own.k * 4;
      largest = std::max(largest, own.n * own.k * 9);  // rows, codes, the effective weight
    }
    width = width == 0 ? k : std::min(width, k);
    segment_bytes[site.segment] += bytes + largest;
  }
  const int64_t largest = segment_bytes.empty() ? 0 : *std::ranges::max_element(segment_bytes);
  // The cut before a segment and the one behind it.
  const int64_t cut = 2 * tokens * width * 4;
  const int64_t idle = tokens > 0 ? IdleBytes(executor.graph(), plan) : 0;
  return kProgramBytes + InlineBytes(executor.graph()) + largest + cut + idle;
}

}  // namespace ptq
