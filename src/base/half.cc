// Converts arrays of 16-bit floats, to float by the processor's own instruction where it has one.
#include "ptq/base/half.h"

#include <Eigen/Core>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "ptq/base/simd.h"

namespace ptq {

namespace {

PTQ_VECTOR_CLONES void WidenAll(const Half* from, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = ToFloat(from[i]);
}

PTQ_VECTOR_CLONES void NarrowAll(const float* from, Half* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = ToHalf(from[i]);
}

PTQ_VECTOR_CLONES void RoundAll(const float* from, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = RoundToHalf(from[i]);
}

#if defined(__x86_64__) && defined(__GNUC__)

/// The processor's own conversion, which the compiler does not find in the loop above.
__attribute__((target("avx,f16c"))) void WidenBy8(const Half* from, float* to, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const auto* halves = reinterpret_cast<const __m128i*>(from + i);
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(halves)));
  }
  for (; i < count; ++i) to[i] = ToFloat(from[i]);
}

bool HasConversion() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) != 0 &&
         (c & bit_F16C) != 0;
}

void Widen(const Half* from, float* to, size_t count) {
  static const bool has_conversion = HasConversion();
  if (has_conversion) return WidenBy8(from, to, count);
  WidenAll(from, to, count);
}

#else

void Widen(const Half* from, float* to, size_t count) { WidenAll(from, to, count); }

#endif

}  // namespace

BFloat16 ToBFloat16(float value) {
  return BFloat16{Eigen::bfloat16_impl::float_to_bfloat16_rtne<false>(value).value};
}

void RoundToHalf(std::span<const float> from, std::span<float> to) {
  RoundAll(from.data(), to.data(), to.size());
}

void Convert(std::span<const Half> from, std::span<float> to) {
  Widen(from.data(), to.data(), from.size());
}

void Convert(std::span<const BFloat16> from, std::span<float> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToFloat(from[i]);
}

void Convert(std::span<const float> from, std::span<Half> to) {
  NarrowAll(from.data(), to.data(), from.size());
}

void Convert(std::span<const float> from, std::span<BFloat16> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToBFloat16(from[i]);
}

}  // namespace ptq
