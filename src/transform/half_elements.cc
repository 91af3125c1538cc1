// Converts floats to binary16 without making infinities of large ones.
#include "ptq/transform/half_elements.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ptq {
namespace {

constexpr size_t kHalfChunk = size_t{1} << 20;

void Bound(std::span<float> values) {
  for (float& value : values) {
    if (std::isfinite(value)) value = std::clamp(value, -kHalfMax, kHalfMax);
  }
}

}  // namespace

void ForEachHalfChunk(const Tensor& elements,
                      const std::function<void(std::span<const Half>)>& take) {
  std::vector<float> wide;
  std::vector<Half> halves;
  for (size_t begin = 0; begin < size_t(elements.size()); begin += kHalfChunk) {
    const size_t count = std::min(kHalfChunk, size_t(elements.size()) - begin);
    wide.resize(count);
    halves.resize(count);
    if (elements.dtype() == DType::kBFloat16) {
      Convert(elements.data<BFloat16>().subspan(begin, count), std::span(wide));
    } else {
      std::ranges::copy(elements.data<float>().subspan(begin, count), wide.begin());
    }
    Bound(wide);
    Convert(std::span<const float>(wide), std::span(halves));
    take(halves);
  }
}

Tensor HalfElements(const Tensor& elements) {
  Tensor halves(DType::kFloat16, elements.shape());
  auto* to = halves.mutable_data<Half>().data();
  ForEachHalfChunk(elements,
                   [&](std::span<const Half> chunk) { to = std::ranges::copy(chunk, to).out; });
  return halves;
}

}  // namespace ptq
