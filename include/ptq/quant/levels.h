// What codes stand for where that is not their own number: the levels of a codebook.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ptq {

/// Up to 16 values in units of a group's scale. Codes number them from the lowest to the highest,
/// so that the neighbours of a code are the codes beside it. Immutable.
class Levels {
 public:
  static constexpr int kMost = 16;

  /// `values` in any order; equal ones are one level. Throws InternalError for none, too many, ones
  /// that are not finite, or nothing but zeros.
  Levels(std::string name, std::span<const float> values);

  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] int count() const { return count_; }
  [[nodiscard]] float value(int code) const { return values_[size_t(code)]; }
  /// The largest magnitude, to which that of a group's weights is mapped.
  [[nodiscard]] float largest() const { return largest_; }

  /// The code of the level that is nearest to x; of two equally near ones the lower.
  [[nodiscard]] uint8_t Nearest(float x) const {
    uint8_t code = 0;
    for (const float border : borders_) code = uint8_t(code + (x > border ? 1 : 0));
    return code;
  }
  /// The code of the highest level that is not above x; 0 when all are.
  [[nodiscard]] uint8_t Below(float x) const;

  /// Nearest(w / scale) for `count` weights.
  void Nearest(const float* w, int64_t count, float scale, uint8_t* codes) const;
  /// The values of these codes.
  void NearestValues(const float* w, int64_t count, float scale, float* values) const;

 private:
  std::string name_;
  int count_ = 0;
  float largest_ = 0;
  std::array<float, kMost> values_;       ///< ascending; the last is repeated
  std::array<float, kMost - 1> borders_;  ///< between one level and the next; then infinity
};

/// The 4-bit formats of bitsandbytes: NF4, the quantiles of a normal distribution (Dettmers et al.
/// 2023, arXiv 2305.14314, appendix E), and FP4, of which both zeros are one level.
[[nodiscard]] const Levels& Nf4Levels();
[[nodiscard]] const Levels& Fp4Levels();
/// Those of a name; null: none.
[[nodiscard]] const Levels* FindLevels(std::string_view name);

}  // namespace ptq
