// Looks at the elements of a constant chunk by chunk.
#include "constant_facts.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ptq/base/half.h"

namespace ptq {
namespace {

constexpr int64_t kFactsChunk = int64_t{1} << 20;

void AddElements(std::span<const float> elements, ConstantFacts& facts) {
  for (const float value : elements) {
    const float size = std::abs(value);
    if (!std::isfinite(value) || size == 0) continue;
    facts.largest = std::max(facts.largest, size);
    facts.smallest = facts.smallest == 0 ? size : std::min(facts.smallest, size);
    facts.negative = facts.negative && (value < 0 || size <= kHalfMax);
  }
}

}  // namespace

bool ConstantFacts::overflows() const { return largest > kHalfMax; }

bool ConstantFacts::is_tiny() const {
  return elements == 1 && largest > 0 && largest < kHalfMinNormal;
}

bool ConstantFacts::underflows() const { return largest > 0 && largest < kHalfMinNormal / 8; }

const ConstantFacts& ConstantReader::Of(const onnx::TensorProto& tensor) {
  const auto [entry, added] = known_.try_emplace(&tensor);
  ConstantFacts& facts = entry->second;
  if (!added) return facts;
  const Tensor stored = weights_.Read(tensor);
  facts.elements = stored.size();
  if (stored.dtype() == DType::kBFloat16) {
    std::vector<float> wide;
    const auto from = stored.data<BFloat16>();
    for (int64_t begin = 0; begin < stored.size(); begin += kFactsChunk) {
      const auto count = std::min(kFactsChunk, stored.size() - begin);
      wide.resize(size_t(count));
      Convert(from.subspan(size_t(begin), size_t(count)), std::span<float>(wide));
      AddElements(wide, facts);
      weights_.Drop(tensor);
    }
  } else if (stored.dtype() == DType::kFloat32) {
    const auto from = stored.data<float>();
    for (int64_t begin = 0; begin < stored.size(); begin += kFactsChunk) {
      const auto count = std::min(kFactsChunk, stored.size() - begin);
      AddElements(from.subspan(size_t(begin), size_t(count)), facts);
      weights_.Drop(tensor);
    }
  }
  return facts;
}

}  // namespace ptq
