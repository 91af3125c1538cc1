#include "linear_quantizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "plain_rows.h"

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Rows that are quantized together. A product with the Gram matrix first packs all K² numbers of
/// it, which pays for many rows only; where K is small, so is N, and all threads should get some.
/// Without one the rows should stay in the cache that is one core's own.
int64_t RowTile(const GramView& gram) {
  if (!gram.identity()) return std::clamp<int64_t>(gram.k() / 4, 64, 512);
  constexpr int64_t kCached = 64 << 10;  // weights
  constexpr int64_t kLine = 32;          // weights of 16 bits in a cache line
  return std::clamp<int64_t>(kCached / gram.k() / kLine * kLine, kLine, 4 * kLine);
}
/// Tiles of one task, which share their buffers.
constexpr int64_t kTilesInTask = 4;

/// Rows of a result, to be quantized from `w`.
RowBlock RowsOf(QuantizedMatrix& q, int64_t begin, int64_t rows, const float* w) {
  const int64_t groups = q.spec.GroupsFor(q.k);
  return {q.spec,
          rows,
          q.k,
          w,
          q.scales.data() + begin * groups,
          q.zero_points.data() + begin * groups,
          q.codes.data() + begin * q.k};
}

/// Δ = Q(W·diag(s))·diag(s)⁻¹ − W for the rows of a block.
PTQ_VECTOR_CLONES void Errors(const RowBlock& block, const float* original,
                              std::span<const float> s, float* delta) {
  const int64_t groups = block.spec.GroupsFor(block.k);
  for (int64_t r = 0; r < block.rows; ++r) {
    float* row = delta + r * block.k;
    const float* w = original + r * block.k;
    DequantizeRows(block.spec, 1, block.k, block.codes + r * block.k, block.scales + r * groups,
                   block.zero_points + r * groups, row);
    if (s.empty()) {
      for (int64_t j = 0; j < block.k; ++j) row[j] -= w[j];
    } else {
      for (int64_t j = 0; j < block.k; ++j) row[j] = row[j] / s[size_t(j)] - w[j];
    }
  }
}

/// Whether the method's own way is the plain one.
bool IsPlain(const LinearTask& task) {
  return task.grid.make == MakeMinmaxGrid && task.rounding.make == MakeNearestRounding;
}

/// The two ways in which each row may be quantized.
struct RowMethods {
  Grid plain_grid;
  Rounding plain_rounding;
  Grid grid;
  Rounding rounding;
  bool plain_only;
  RowMethods(const SiteView& site, const LinearTask& task)
      : plain_grid(MakeMinmaxGrid(site)),
        plain_rounding(MakeNearestRounding(site)),
        grid(task.grid.make(site)),
        rounding(task.rounding.make(site)),
        plain_only(IsPlain(task)) {}
};

/// What a task needs for its tiles, again and again.
struct Buffers {
  std::vector<float> w;
  std::vector<float> scaled;
  std::vector<float> delta;
  std::vector<double> losses;
};

/// Least rows for which packing a Gram matrix pays, and parts that a search is cut into.
constexpr int64_t kLeastRows = 64;
constexpr int64_t kParts = 8;
/// Rows of a sample that one task quantizes under one scale: few scales still keep all threads
/// busy.
constexpr int64_t kSampleRows = 16;

/// The loss of each row of a block whose codes are set.
void Losses(const SiteView& site, const RowBlock& block, const float* original,
            std::vector<float>& delta, double* losses) {
  delta.resize(size_t(block.rows * block.k));
  Errors(block, original, site.s, delta.data());
  site.gram.RowLosses(delta.data(), block.rows, 0, block.k, losses);
}

/// Throws InputError for rows whose energies are not numbers.
void CheckFinite(const LinearTask& task, std::span<const double> energies) {
  if (std::ranges::all_of(energies, [](double energy) { return std::isfinite(energy); })) return;
  throw InputError("weight '" + task.name +
                   "' holds a NaN or an infinite value; repair the model or exclude it");
}

/// Where the sums of a tile's rows go.
struct RowSums {
  double* losses;
  double* plain_losses;
  double* energies;  ///< not of scaled rows
};

/// Quantizes one tile of rows in the plain way.
void QuantizePlain(const SiteView& site, const RowMethods& methods, const LinearTask& task,
                   const RowBlock& out, const float* original, Buffers& buffers,
                   const RowSums& sums) {
  const auto check = [&] { CheckFinite(task, std::span(sums.energies, size_t(out.rows))); };
  if (site.s.empty() && site.gram.identity()) {
    RoundPlainRows(out, sums.plain_losses, sums.energies);
    check();
    return;
  }
  if (site.s.empty()) {
    site.gram.RowEnergies(original, out.rows, sums.energies);
    check();
  }
  methods.plain_grid(out);
  methods.plain_rounding(out);
  Losses(site, out, original, buffers.delta, sums.plain_losses);
}

/// Quantizes one tile of rows; the better of both ways ends in `out`, its losses in `sums.losses`.
void QuantizeTile(const SiteView& site, const RowMethods& methods, const LinearTask& task,
                  const RowBlock& out, const float* original, Buffers& buffers,
                  const RowSums& sums) {
  QuantizePlain(site, methods, task, out, original, buffers, sums);
  std::copy_n(sums.plain_losses, out.rows, sums.losses);
  if (methods.plain_only) return;

  const int64_t groups = out.spec.GroupsFor(out.k);
  QuantizedMatrix tile(out.spec, out.rows, out.k);
  const RowBlock other = RowsOf(tile, 0, out.rows, out.w);
  methods.grid(other);
  methods.rounding(other);
  buffers.losses.resize(size_t(out.rows));
  Losses(site, other, original, buffers.delta, buffers.losses.data());
  for (int64_t r = 0; r < out.rows; ++r) {
    if (!(buffers.losses[size_t(r)] < sums.losses[r])) continue;
    sums.losses[r] = buffers.losses[size_t(r)];
    std::copy_n(other.scales + r * groups, groups, out.scales + r * groups);
    std::copy_n(other.zero_points + r * groups, groups, out.zero_points + r * groups);
    std::copy_n(other.codes + r * out.k, out.k, out.codes + r * out.k);
  }
}

/// Rows of W·diag(s), or W itself.
const float* ScaledRows(const float* w, int64_t rows, int64_t k, std::span<const float> s,
                        std::vector<float>& buffer) {
  if (s.empty()) return w;
  buffer.resize(size_t(rows * k));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < k; ++j) buffer[size_t(r * k + j)] = w[r * k + j] * s[size_t(j)];
  }
  return buffer.data();
}

}  // namespace

LinearQuantization QuantizeLinear(const SiteView& site, const LinearTask& task) {
  const int64_t n = task.w.rows();
  const int64_t k = task.w.cols();
  LinearQuantization outcome;
  outcome.q = QuantizedMatrix(task.spec, n, k);
  std::vector<double> losses(static_cast<size_t>(n));
  std::vector<double> plain_losses(static_cast<size_t>(n));
  std::vector<double> energies(static_cast<size_t>(n));
  const RowMethods methods(site, task);
  const int64_t tile = RowTile(site.gram);
  ParallelForTiles(
      n, site.gram.identity() ? kTilesInTask * tile : tile, [&](int64_t first, int64_t last) {
        Buffers buffers;
        for (int64_t begin = first; begin < last; begin += tile) {
          const int64_t rows = std::min(tile, last - begin);
          const float* original = task.w.Get(begin, begin + rows, buffers.w);
          const RowBlock block =
              RowsOf(outcome.q, begin, rows, ScaledRows(original, rows, k, site.s, buffers.scaled));
          QuantizeTile(
              site, methods, task, block, original, buffers,
              {losses.data() + begin, plain_losses.data() + begin, energies.data() + begin});
        }
      });
  outcome.loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  outcome.loss_plain = std::accumulate(plain_losses.begin(), plain_losses.end(), 0.0);
  outcome.energy = std::accumulate(energies.begin(), energies.end(), 0.0);
  return outcome;
}

std::vector<double> LossesOf(const GramView& gram, std::span<const std::span<const float>> scales,
                             const LinearTask& task) {
  const auto count = static_cast<int64_t>(scales.size());
  const int64_t rows = task.w.rows();
  const int64_t k = task.w.cols();
  std::vector<float> made;
  const float* original = task.w.Get(0, rows, made);
  const bool plain_only = IsPlain(task);
  std::vector<float> plain(size_t(count * rows * k));
  std::vector<float> other(plain_only ? 0 : plain.size());
  const int64_t parts = (rows + kSampleRows - 1) / kSampleRows;
  ParallelFor(count * parts, [&](int64_t i) {
    const SiteView site{gram, scales[size_t(i / parts)]};
    const RowMethods methods(site, task);
    const int64_t begin = i % parts * kSampleRows;
    const int64_t part = std::min(kSampleRows, rows - begin);
    const float* w = original + begin * k;
    const int64_t to = (i / parts * rows + begin) * k;
    std::vector<float> scaled;
    QuantizedMatrix q(task.spec, part, k);
    const RowBlock block = RowsOf(q, 0, part, ScaledRows(w, part, k, site.s, scaled));
    methods.plain_grid(block);
    methods.plain_rounding(block);
    Errors(block, w, site.s, plain.data() + to);
    if (plain_only) return;
    methods.grid(block);
    methods.rounding(block);
    Errors(block, w, site.s, other.data() + to);
  });
  std::vector<double> losses(size_t(count * rows));
  std::vector<double> other_losses(losses.size(), std::numeric_limits<double>::infinity());
  // Few rows in even parts, so that all threads get some.
  const int64_t part = std::max(kLeastRows, (count * rows + kParts - 1) / kParts);
  ParallelForTiles(count * rows, std::min(part, RowTile(gram)), [&](int64_t begin, int64_t end) {
    gram.RowLosses(plain.data() + begin * k, end - begin, 0, k, losses.data() + begin);
    if (plain_only) return;
    gram.RowLosses(other.data() + begin * k, end - begin, 0, k, other_losses.data() + begin);
  });
  std::vector<double> sums(scales.size(), 0.0);
  for (size_t i = 0; i < losses.size(); ++i) {
    sums[i / size_t(rows)] += std::min(losses[i], other_losses[i]);
  }
  return sums;
}

double Energy(const GramView& gram, std::span<const float> w, int64_t n) {
  std::vector<double> energies(static_cast<size_t>(n));
  ParallelForTiles(n, RowTile(gram), [&](int64_t begin, int64_t end) {
    gram.RowEnergies(w.data() + begin * gram.k(), end - begin, energies.data() + begin);
  });
  return std::accumulate(energies.begin(), energies.end(), 0.0);
}

}  // namespace ptq
