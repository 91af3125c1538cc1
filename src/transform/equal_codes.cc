// Finds weights that may be equal by a few of their bytes, and compares those that may.
#include "ptq/transform/equal_codes.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "ptq/base/hash.h"

namespace ptq {
namespace {

/// Bytes at the beginning, in the middle and at the end that tell weights apart.
constexpr size_t kSample = 256;

/// The bytes of a weight that lies in the file as it is, alone in its tensor.
std::optional<WeightReader::StoredBytes> BytesOf(const Graph& graph, const Linear& linear) {
  if (linear.stored == kNoValue || linear.part != linear.stored) return std::nullopt;
  const StoredTensor& tensor = *graph.value(linear.stored).constant;
  const bool external = tensor.data_location() == onnx::TensorProto::EXTERNAL;
  if (!external && !tensor.has_raw_data()) return std::nullopt;
  const int64_t size = ptq::BytesOf(linear.stored_type, linear.n * linear.k);
  if (graph.model().weights().SizeInFile(tensor) != size) return std::nullopt;  // codes
  return graph.model().weights().ReadBytes(tensor);
}

uint64_t SampleOf(std::span<const std::byte> bytes) {
  if (bytes.size() <= 3 * kSample) return FastHash(bytes);
  uint64_t hash = 0;
  for (const size_t begin : {size_t{0}, bytes.size() / 2, bytes.size() - kSample}) {
    hash = hash * 31 + FastHash(bytes.subspan(begin, kSample));
  }
  return hash;
}

/// What two linears with the same codes have in common, but for the weight.
auto KindOf(const Linear& linear) {
  const QuantSpec& spec = linear.spec();
  const auto& method = linear.decision.method;
  return std::tuple(linear.decision.form, spec.bits, spec.group_size, spec.symmetric,
                    spec.scale_type, spec.codebook, linear.n, linear.k, linear.experts,
                    linear.operand_is_nk, linear.operand_type, linear.stored_type,
                    method.has_value() ? method->grid + "," + method->rounding : "");
}

/// The weights that were seen, by the value that stands for all equal ones.
class SeenWeights {
 public:
  explicit SeenWeights(const Graph& graph) : graph_(graph) {}

  ValueId FirstEqual(const Linear& linear) {
    const auto [known, added] = firsts_.try_emplace(linear.part, linear.part);
    if (!added) return known->second;
    const auto own = BytesOf(graph_, linear);
    if (!own.has_value()) return linear.part;
    auto& others = by_sample_[{linear.stored_type, own->bytes.size(), SampleOf(own->bytes)}];
    for (const Linear* other : others) {
      const auto theirs = BytesOf(graph_, *other);
      const bool equal = std::ranges::equal(own->bytes, theirs->bytes);
      for (const Linear* read : {&linear, other}) {
        graph_.model().weights().Drop(*graph_.value(read->stored).constant);
      }
      if (equal) return firsts_[linear.part] = other->part;
    }
    others.push_back(&linear);
    return linear.part;
  }

 private:
  const Graph& graph_;
  std::map<ValueId, ValueId> firsts_;
  std::map<std::tuple<DType, size_t, uint64_t>, std::vector<const Linear*>> by_sample_;
};

}  // namespace

std::vector<int> FirstWithEqualCodes(const Graph& graph, const Plan& plan, bool by_bytes) {
  SeenWeights seen(graph);
  std::map<std::pair<ValueId, decltype(KindOf(Linear()))>, int> firsts;
  std::vector<int> result;
  for (int i = 0; i < std::ssize(plan.linears); ++i) {
    const Linear& linear = plan.linears[size_t(i)];
    int first = i;
    if (linear.decision.quantizes() && linear.table < 0) {
      const ValueId weight = by_bytes ? seen.FirstEqual(linear) : linear.part;
      first = firsts.try_emplace({weight, KindOf(linear)}, i).first->second;
    }
    result.push_back(first);
  }
  return result;
}

}  // namespace ptq
