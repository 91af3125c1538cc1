// Solves a linear system for each row, with a group's scale as an unknown, and keeps what pays.
#include "scale_fit.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <vector>

#include "grid/group_grid.h"

#include "ptq/base/interrupt.h"

namespace ptq {
namespace {

/// Numbers of the systems that are held at once.
constexpr int64_t kSystemNumbers = int64_t{4} << 20;
/// Added to each element of the diagonal, as a part of it: what single precision leaves uncertain.
constexpr double kDamping = 1e-6;

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What codes stand for, in units of the scales.
std::vector<float> LevelsOf(const RowBlock& block) {
  const int64_t group = block.spec.GroupSizeFor(block.k);
  const int64_t groups = block.spec.GroupsFor(block.k);
  std::vector<float> u(size_t(block.rows * block.k));
  for (int64_t r = 0; r < block.rows; ++r) {
    const uint8_t* const zeros = block.zero_points + r * groups;
    for (int64_t j = 0; j < block.k; ++j) {
      const int64_t g = j / group;
      u[size_t(r * block.k + j)] = block.spec.Level(block.codes[r * block.k + j], zeros[g]);
    }
  }
  return u;
}

/// The optimum as a step away from `scales`: `system` is the lower triangle of A, `slope` b − A s.
/// False when there is none.
bool Move(const float* system, const std::vector<double>& slope, ScaleType type, float* scales) {
  const auto groups = Eigen::Index(slope.size());
  RowMatrix a(groups, groups);
  for (Eigen::Index g = 0; g < groups; ++g) {
    for (Eigen::Index h = 0; h <= g; ++h) a(g, h) = double(system[g * groups + h]);
  }
  for (Eigen::Index g = 0; g < groups; ++g) {
    // A group whose levels are all zero has no optimum, and no slope either.
    a(g, g) = a(g, g) > 0 ? a(g, g) * (1 + kDamping) : 1.0;
  }
  const Eigen::LLT<RowMatrix, Eigen::Lower> factor(a);
  if (factor.info() != Eigen::Success) return false;
  const Eigen::VectorXd step =
      factor.solve(Eigen::Map<const Eigen::VectorXd>(slope.data(), groups));
  for (Eigen::Index g = 0; g < groups; ++g) {
    const double moved = double(scales[g]) + step[g];
    if (std::isfinite(moved) && moved != 0) scales[g] = StorableScale(moved, type);
  }
  return true;
}

void FitRows(const GramView& gram, const RowBlock& block) {
  const int64_t k = block.k;
  const int64_t group = block.spec.GroupSizeFor(k);
  const int64_t groups = block.spec.GroupsFor(k);
  std::vector<float> delta;
  Errors(block, delta);
  std::vector<float> gradient(delta.size());
  gram.Gradient(delta.data(), block.rows, 0, k, gradient.data());
  std::vector<double> before(size_t(block.rows)), after(before.size());
  gram.RowLosses(delta.data(), block.rows, 0, k, before.data());

  const std::vector<float> u = LevelsOf(block);
  std::vector<float> systems(size_t(block.rows * groups * groups));
  gram.GroupForms(u.data(), block.rows, group, systems.data());
  const std::vector<float> old(block.scales, block.scales + block.rows * groups);
  std::vector<double> slope(static_cast<size_t>(groups));
  for (int64_t r = 0; r < block.rows; ++r) {
    std::ranges::fill(slope, 0.0);
    for (int64_t j = 0; j < k; ++j) {
      slope[size_t(j / group)] -=
          double(u[size_t(r * k + j)]) * double(gradient[size_t(r * k + j)]);
    }
    float* scales = block.scales + r * groups;
    if (!Move(systems.data() + r * groups * groups, slope, block.spec.scale_type, scales)) {
      std::copy_n(old.data() + r * groups, groups, scales);
    }
  }
  Errors(block, delta);
  gram.RowLosses(delta.data(), block.rows, 0, k, after.data());
  for (int64_t r = 0; r < block.rows; ++r) {
    if (after[size_t(r)] < before[size_t(r)]) continue;
    std::copy_n(old.data() + r * groups, groups, block.scales + r * groups);
  }
}

}  // namespace

void FitScales(const GramView& gram, const RowBlock& block) {
  const int64_t groups = block.spec.GroupsFor(block.k);
  const int64_t rows = std::max<int64_t>(1, kSystemNumbers / (groups * groups));
  for (int64_t begin = 0; begin < block.rows; begin += rows) {
    CheckInterrupt();
    FitRows(gram, block.Rows(begin, std::min(rows, block.rows - begin)));
  }
}

}  // namespace ptq
