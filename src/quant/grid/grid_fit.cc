// Tries steps that are the largest weight divided by 1, 2, 3 …, and takes the first whose multiples
// all weights of the group are.
#include "ptq/quant/grid_fit.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "group_grid.h"

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr int kMostBits = 8;
constexpr int kMostLevels = 1 << kMostBits;
constexpr int64_t kRowTile = 64;

/// Half to even, for less than 2^51: as kRoundToInteger does it.
double Nearest(double value) {
  constexpr double kRound = 0x1.8p52;
  return (value + kRound) - kRound;
}

float AsItIs(float value) { return value; }
float ToBrain(float value) { return ToFloat(ToBFloat16(value)); }
float ToHalves(float value) { return RoundToHalf(value); }

/// How far a weight may be from a multiple of the step.
struct Precision {
  int fraction;  ///< bits behind the point of a significand: multiples are rounded to these
  int least;     ///< exponent of the smallest normal number
  float (*round)(float);  ///< a float32 to these
  double noise = 0;       ///< instead: this part of the group's largest weight
};
constexpr Precision kFloat = {23, -126, AsItIs};
constexpr Precision kNoisyFloat = {23, -126, AsItIs, 0x1p-22};
constexpr Precision kHalf = {10, -14, ToHalves};
constexpr Precision kBrain = {7, -126, ToBrain};

/// What of the multiple of a step rounds to |w|: [down, up] around it.
struct Margin {
  double down;
  double up;
};

Margin MarginOf(double magnitude, double largest, const Precision& precision) {
  if (precision.noise > 0) return {precision.noise * largest, precision.noise * largest};
  int exponent = 0;
  const double significand = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  exponent = std::max(exponent - 1, precision.least);
  const double up = std::ldexp(0.5, exponent - precision.fraction);
  return {significand == 0.5 ? up / 2 : up, up};
}

/// The group's weights are multiples of `scale`, from `lowest` to `highest` times; 0 is between.
struct GroupStep {
  float scale = 1;
  int lowest = 0;
  int highest = 0;
  int zero = -1;  ///< known for codes of `bits`
  int bits = 0;
};

/// The multiples nearest to the weights, for the step largest / parts.
class Multiples {
 public:
  Multiples(std::span<const float> w, double largest, const Precision& precision)
      : w_(w), largest_(largest), precision_(precision) {
    // Both the weight and the largest one are rounded.
    const double unit = std::ldexp(1.0, -precision.fraction);
    tolerance_ = 1.01 * (precision.noise > 0 ? 2 * precision.noise : unit);
  }

  [[nodiscard]] std::optional<GroupStep> Try(int parts) const {
    const double step = largest_ / parts;
    const double tolerance = tolerance_ * parts + 1e-12;
    // With more parts, rounding alone would reach the next multiple.
    constexpr double kMostTolerance = 0.26;
    if (tolerance > kMostTolerance) return std::nullopt;
    GroupStep found;
    for (const float w : w_) {
      const double ratio = double(w) / step;
      const double multiple = Nearest(ratio);
      if (!(std::abs(ratio - multiple) <= tolerance)) return std::nullopt;
      found.lowest = std::min(found.lowest, int(multiple));
      found.highest = std::max(found.highest, int(multiple));
    }
    if (found.highest - found.lowest >= kMostLevels) return std::nullopt;
    return Exact(step, found);
  }

 private:
  /// The scale for which every multiple rounds to its weight.
  [[nodiscard]] std::optional<GroupStep> Exact(double step, GroupStep found) const {
    double low = 0;
    double high = std::numeric_limits<double>::infinity();
    for (const float w : w_) {
      const double multiple = std::abs(Nearest(double(w) / step));
      const double magnitude = std::abs(double(w));
      if (multiple == 0 && magnitude == 0) continue;
      const Margin margin = MarginOf(magnitude, largest_, precision_);
      if (multiple == 0) {
        if (magnitude > margin.down) return std::nullopt;
        continue;
      }
      low = std::max(low, (magnitude - margin.down) / multiple);
      high = std::min(high, (magnitude + margin.up) / multiple);
    }
    if (low > high) return std::nullopt;
    for (const float scale : Between(low, high)) {
      if (!Gives(scale, step)) continue;
      found.scale = scale;
      return found;
    }
    return std::nullopt;
  }

  /// Numbers of float32 in or near a narrow interval; one of binary16 first, which any file holds.
  /// Those in its middle are not the ones whose multiples lie halfway between two numbers.
  static std::array<float, 7> Between(double low, double high) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    const auto middle = float((low + high) / 2);
    const float below = std::nextafter(middle, 0.0F);
    const float above = std::nextafter(middle, kLargest);
    return {RoundToHalf(middle),
            middle,
            below,
            above,
            std::nextafter(below, 0.0F),
            std::nextafter(above, kLargest),
            float(low + 0.3 * (high - low))};
  }

  [[nodiscard]] bool Gives(float scale, double step) const {
    return std::isfinite(scale) && scale > 0 && std::ranges::all_of(w_, [&](float w) {
             const auto multiple = float(Nearest(double(w) / step));
             const float value = precision_.round(multiple * scale);
             if (precision_.noise == 0) return value == w;
             return std::abs(double(value) - double(w)) <= precision_.noise * largest_;
           });
  }

  std::span<const float> w_;
  double largest_;
  const Precision& precision_;
  double tolerance_;
};

bool AreHalves(std::span<const float> w) {
  return std::ranges::all_of(w, [](float value) { return RoundToHalf(value) == value; });
}

bool AreBrainFloats(std::span<const float> w) {
  return std::ranges::all_of(
      w, [](float value) { return (std::bit_cast<uint32_t>(value) & 0xffffU) == 0; });
}

/// The largest step of so few levels that fits.
std::optional<GroupStep> FindStep(std::span<const float> w, int levels) {
  double largest = 0;
  for (const float value : w) {
    if (!std::isfinite(value)) return std::nullopt;
    largest = std::max(largest, std::abs(double(value)));
  }
  if (largest == 0) return GroupStep();
  // Weights of few bits are multiples of their last bit, too: the largest step comes first, and
  // exact multiples come before rounded ones of the same.
  std::vector<Multiples> ways = {{w, largest, kFloat}, {w, largest, kNoisyFloat}};
  if (AreHalves(w)) ways.emplace_back(w, largest, kHalf);
  if (AreBrainFloats(w)) ways.emplace_back(w, largest, kBrain);
  for (int parts = 1; parts < levels; ++parts) {
    for (const Multiples& multiples : ways) {
      if (auto step = multiples.Try(parts)) return step;
    }
  }
  return std::nullopt;
}

/// The known step, if it is that of the whole group. `row`, `column`: of its first weight.
std::optional<GroupStep> KnownStep(std::span<const float> w, const KnownGrid& known, int64_t row,
                                   int64_t column) {
  const KnownGrid::Point point = known.at(row, column);
  if (!(known.at(row, column + int64_t(w.size()) - 1) == point)) return std::nullopt;
  GroupStep step = {point.scale, 0, 0, point.zero, known.bits};
  for (const float value : w) {
    const double ratio = value == 0 ? 0 : double(value) / double(point.scale);
    const double multiple = Nearest(ratio);
    constexpr double kRounded = 0.25;  // the floats are rounded to 16 bits
    if (!(std::abs(ratio - multiple) <= kRounded) || std::abs(multiple) >= kMostLevels) {
      return std::nullopt;
    }
    step.lowest = std::min(step.lowest, int(multiple));
    step.highest = std::max(step.highest, int(multiple));
  }
  return step;
}

std::optional<GroupStep> StepOf(std::span<const float> w, int levels, const KnownGrid* known,
                                int64_t row, int64_t column) {
  return known == nullptr ? FindStep(w, levels) : KnownStep(w, *known, row, column);
}

bool HoldsSymmetric(int lowest, int highest, int bits) {
  return lowest >= -(1 << (bits - 1)) && highest < 1 << (bits - 1);
}

/// With the step's sign or, where it is not known, with the other. A zero point that is known
/// stays.
int SymmetricBits(const GroupStep& step) {
  if (step.bits > 0 && step.zero != 1 << (step.bits - 1)) return kMostBits + 1;
  for (const int bits : {2, 4, kMostBits}) {
    if (HoldsSymmetric(step.lowest, step.highest, bits)) return bits;
    if (step.bits == 0 && HoldsSymmetric(-step.highest, -step.lowest, bits)) return bits;
  }
  return kMostBits + 1;
}

int AsymmetricBits(const GroupStep& step) {
  int bits = 2;
  while (step.highest - step.lowest >= 1 << bits) bits *= 2;
  return bits;
}

/// Calls visit(weights, row, first column, group) for the groups of some rows.
template <class Visit>
void ForEachGroup(const MatrixRows& w, int64_t begin, int64_t end, int64_t group_size,
                  const Visit& visit) {
  const int64_t k = w.cols();
  const int64_t size = group_size > 0 ? group_size : k;
  std::vector<float> buffer;
  const float* const rows = w.Get(begin, end, buffer);
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t column = 0; column < k; column += size) {
      const auto count = size_t(std::min(size, k - column));
      if (!visit(std::span(rows + (r - begin) * k + column, count), r, column, column / size)) {
        return;
      }
    }
  }
}

void SetGroup(std::span<const float> w, GroupStep step, const QuantSpec& spec, uint8_t* codes,
              float& scale, uint8_t& zero_point) {
  int zero = spec.mid();
  if (spec.symmetric) {
    if (!HoldsSymmetric(step.lowest, step.highest, spec.bits)) {
      step.scale = -step.scale;
      std::swap(step.lowest, step.highest);
      step.lowest = -step.lowest;
      step.highest = -step.highest;
    }
  } else {
    const bool known = step.bits == spec.bits && step.zero + step.lowest >= 0 &&
                       step.zero + step.highest < spec.levels();
    zero = known ? step.zero : -step.lowest;
  }
  if (zero + step.lowest < 0 || zero + step.highest >= spec.levels()) {
    throw InternalError("a group needs more bits than were told");
  }
  for (size_t i = 0; i < w.size(); ++i) {
    const double ratio = w[i] == 0 ? 0 : double(w[i]) / double(step.scale);
    codes[i] = uint8_t(int(Nearest(ratio)) + zero);
  }
  const bool usable = std::isfinite(step.scale) && step.scale != 0;
  scale = usable ? StorableScale(double(step.scale), spec.scale_type) : 1.0F;
  zero_point = uint8_t(zero);
}

}  // namespace

std::optional<GridBits> FindGrids(const MatrixRows& w, int64_t group_size, int most_bits,
                                  const KnownGrid* known) {
  std::atomic<bool> fits = true;
  std::atomic<int> symmetric = 2;
  std::atomic<int> asymmetric = 2;
  const auto look = [&](int64_t begin, int64_t end) {
    int own_symmetric = 2;
    int own_asymmetric = 2;
    ForEachGroup(w, begin, end, group_size, [&](auto weights, int64_t row, int64_t column, auto) {
      const auto step = StepOf(weights, 1 << most_bits, known, row, column);
      if (!step.has_value() || AsymmetricBits(*step) > most_bits) fits = false;
      if (!fits) return false;
      own_symmetric = std::max(own_symmetric, SymmetricBits(*step));
      own_asymmetric = std::max(own_asymmetric, AsymmetricBits(*step));
      return true;
    });
    const auto raise = [](std::atomic<int>& most, int own) {
      int before = most;
      while (before < own && !most.compare_exchange_weak(before, own)) {
      }
    };
    raise(symmetric, own_symmetric);
    raise(asymmetric, own_asymmetric);
  };
  // What lies on no grid shows in the first row.
  look(0, std::min<int64_t>(1, w.rows()));
  if (fits) ParallelForTiles(w.rows(), kRowTile, look);
  if (!fits) return std::nullopt;
  GridBits bits;
  if (symmetric <= kMostBits) bits.symmetric = symmetric.load();
  bits.asymmetric = asymmetric;
  return bits;
}

QuantizedMatrix CodesOnGrid(const MatrixRows& w, const QuantSpec& spec, const KnownGrid* known) {
  QuantizedMatrix q(spec, w.rows(), w.cols());
  const int64_t groups = spec.GroupsFor(q.k);
  ParallelForTiles(q.n, kRowTile, [&](int64_t begin, int64_t end) {
    ForEachGroup(w, begin, end, spec.group_size,
                 [&](auto weights, int64_t row, int64_t column, int64_t group) {
                   const auto step = StepOf(weights, kMostLevels, known, row, column);
                   if (!step.has_value()) throw InternalError("a group lies on no grid any more");
                   const auto at = size_t(row * groups + group);
                   SetGroup(weights, *step, spec, q.codes.data() + row * q.k + column, q.scales[at],
                            q.zero_points[at]);
                   return true;
                 });
  });
  return q;
}

}  // namespace ptq
