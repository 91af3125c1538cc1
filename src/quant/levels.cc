// Sorts a codebook, and finds nearest levels by comparing with the borders between them.
#include "ptq/quant/levels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/base/simd.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

/// Weights that are compared at once. Written as vectors, which the compiler does not find.
constexpr int64_t kLevelLanes = 16;

PTQ_VECTOR_CLONES void NearestCodes(const float* w, int64_t count, float scale,
                                    const float* borders, uint8_t* codes) {
  using Floats [[gnu::vector_size(sizeof(float) * kLevelLanes)]] = float;
  using Ints [[gnu::vector_size(sizeof(int32_t) * kLevelLanes)]] = int32_t;
  using Bytes [[gnu::vector_size(kLevelLanes)]] = uint8_t;
  for (int64_t j = 0; j < count; j += kLevelLanes) {
    const auto taken = size_t(std::min(kLevelLanes, count - j));
    Floats x = {};
    std::memcpy(&x, w + j, taken * sizeof(float));
    x /= scale;
    Ints code = {};
    for (int i = 0; i < Levels::kMost - 1; ++i) code -= x > Floats{} + borders[i];  // true is -1
    const Bytes bytes = __builtin_convertvector(code, Bytes);
    std::memcpy(codes + j, &bytes, taken);
  }
}

PTQ_VECTOR_CLONES void ValuesOfNearest(const float* w, int64_t count, float scale,
                                       const float* borders, const float* levels, float* values) {
  using Floats [[gnu::vector_size(sizeof(float) * kLevelLanes)]] = float;
  for (int64_t j = 0; j < count; j += kLevelLanes) {
    const auto taken = size_t(std::min(kLevelLanes, count - j));
    Floats x = {};
    std::memcpy(&x, w + j, taken * sizeof(float));
    x /= scale;
    Floats value = Floats{} + levels[0];
    for (int i = 0; i < Levels::kMost - 1; ++i) {
      value = x > Floats{} + borders[i] ? Floats{} + levels[i + 1] : value;
    }
    std::memcpy(values + j, &value, taken * sizeof(float));
  }
}

}  // namespace

Levels::Levels(std::string name, std::span<const float> values) : name_(std::move(name)) {
  std::vector<float> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  for (const float value : sorted) {
    if (!std::isfinite(value)) throw InternalError("levels '" + name_ + "' are not finite");
    largest_ = std::max(largest_, std::abs(value));
  }
  if (sorted.size() > kMost || !(largest_ > 0)) {
    throw InternalError("levels '" + name_ + "' are too many or none");
  }
  count_ = int(sorted.size());
  values_.fill(sorted.back());
  std::ranges::copy(sorted, values_.begin());
  borders_.fill(std::numeric_limits<float>::infinity());
  for (size_t i = 0; i + 1 < sorted.size(); ++i) {
    borders_[i] = float(0.5 * (double(sorted[i]) + double(sorted[i + 1])));
  }
}

uint8_t Levels::Below(float x) const {
  size_t code = 0;
  while (code + 1 < size_t(count_) && values_[code + 1] <= x) ++code;
  return uint8_t(code);
}

void Levels::Nearest(const float* w, int64_t count, float scale, uint8_t* codes) const {
  NearestCodes(w, count, scale, borders_.data(), codes);
}

void Levels::NearestValues(const float* w, int64_t count, float scale, float* values) const {
  ValuesOfNearest(w, count, scale, borders_.data(), values_.data(), values);
}

const Levels& Nf4Levels() {
  static const Levels levels("nf4", FloatCodebook(1));
  return levels;
}

const Levels& Fp4Levels() {
  static const Levels levels("fp4", FloatCodebook(0));
  return levels;
}

const Levels* FindLevels(std::string_view name) {
  for (const Levels* levels : {&Nf4Levels(), &Fp4Levels()}) {
    if (levels->name() == name) return levels;
  }
  return nullptr;
}

}  // namespace ptq
