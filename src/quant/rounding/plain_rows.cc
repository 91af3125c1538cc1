// Rounds groups in vector registers where float can hold their squares, else one by one.
#include "plain_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "grid/group_grid.h"

#include "ptq/base/simd.h"

namespace ptq {
namespace {

struct PlainSums {
  double loss = 0;
  double energy = 0;
};

constexpr int64_t kPlainLanes = 16;
/// Squares of numbers within 2^±50 stay far inside the range of float.
constexpr float kLargestSafe = 0x1p50f;
constexpr float kSmallestSafe = 0x1p-50f;

/// Codes and sums from element `begin` on, in double.
PlainSums RoundSlowly(const float* w, int64_t begin, int64_t end, float scale, float zero,
                      float highest_code, uint8_t* codes) {
  PlainSums sums;
  for (int64_t j = begin; j < end; ++j) {
    const float code = SignedCode(w[j], scale, -zero, highest_code - zero);
    codes[j] = uint8_t(int(code + zero));
    const double error = double(code * scale - w[j]);
    sums.loss += error * error;
    sums.energy += double(w[j]) * double(w[j]);
  }
  return sums;
}

/// The same for a whole group whose squares a float can hold: each lane adds few of them.
PTQ_VECTOR_CLONES PlainSums RoundQuickly(const float* w, int64_t count, float scale, float zero,
                                         float highest_code, uint8_t* codes) {
  using Floats [[gnu::vector_size(sizeof(float) * kPlainLanes)]] = float;
  using Ints [[gnu::vector_size(sizeof(int32_t) * kPlainLanes)]] = int32_t;
  using Bytes [[gnu::vector_size(kPlainLanes)]] = uint8_t;
  const Floats lowest = Floats{} - zero;
  const Floats highest = Floats{} + (highest_code - zero);
  Floats losses = {};
  Floats energies = {};
  int64_t j = 0;
  for (; j + kPlainLanes <= count; j += kPlainLanes) {
    Floats values;
    std::memcpy(&values, w + j, sizeof(values));
    Floats q = values / scale;  // as SignedCode, for all lanes
    q = q > lowest ? q : lowest;
    q = q < highest ? q : highest;
    q = (q + kRoundToInteger) - kRoundToInteger;
    const Bytes bytes = __builtin_convertvector(__builtin_convertvector(q + zero, Ints), Bytes);
    std::memcpy(codes + j, &bytes, sizeof(bytes));
    const Floats errors = q * scale - values;
    losses += errors * errors;
    energies += values * values;
  }
  PlainSums sums = RoundSlowly(w, j, count, scale, zero, highest_code, codes);
  for (int64_t lane = 0; lane < kPlainLanes; ++lane) {
    sums.loss += double(losses[lane]);
    sums.energy += double(energies[lane]);
  }
  return sums;
}

}  // namespace

void RoundPlainRows(const RowBlock& block, double* losses, double* energies) {
  const int64_t group = block.spec.GroupSizeFor(block.k);
  const int64_t groups = block.spec.GroupsFor(block.k);
  const auto highest_code = float(block.spec.levels() - 1);
  for (int64_t r = 0; r < block.rows; ++r) {
    PlainSums row;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * group;
      const int64_t count = std::min(group, block.k - begin);
      const float* w = block.w + r * block.k + begin;
      uint8_t* codes = block.codes + r * block.k + begin;
      const GroupRange range = RangeOf(w, count);
      const GroupGrid grid = GridOf(range, 1.0f, block.spec);
      block.scales[r * groups + g] = grid.scale;
      block.zero_points[r * groups + g] = grid.zero_point;
      const float largest = std::abs(range.signed_max);
      const bool safe = largest <= kLargestSafe && largest >= kSmallestSafe;
      const PlainSums sums =
          safe ? RoundQuickly(w, count, grid.scale, float(grid.zero_point), highest_code, codes)
               : RoundSlowly(w, 0, count, grid.scale, float(grid.zero_point), highest_code, codes);
      row.loss += sums.loss;
      row.energy += sums.energy;
    }
    losses[r] = row.loss;
    energies[r] = row.energy;
  }
}

}  // namespace ptq
