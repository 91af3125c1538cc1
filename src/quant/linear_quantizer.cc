// Works on tiles of rows: rounds them plainly and by the method, and compares the losses.
#include "linear_quantizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "rounding/plain_rows.h"
#include "rounding/refinement.h"

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

/// Δ = Q(W·diag(s))·diag(s)⁻¹ − W for the rows of a block: in these coordinates the rounding of W·s
/// itself does not show.
PTQ_VECTOR_CLONES void UnscaledErrors(const RowBlock& block, const float* original,
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

/// What a task needs for its tiles, again and again.
struct Buffers {
  std::vector<float> w;
  std::vector<float> scaled;
  std::vector<float> delta;
  std::vector<double> losses;
  std::vector<double> raw;
};

/// Least rows for which packing a Gram matrix pays, and parts that a search is cut into.
constexpr int64_t kLeastRows = 64;
constexpr int64_t kParts = 8;
/// Rows of a sample that one task quantizes under one scale: few scales still keep all threads
/// busy.
constexpr int64_t kSampleRows = 16;

/// The losses of each row of a block whose codes are set.
void Losses(const RowMethod& method, const RowBlock& block, const float* original,
            std::vector<float>& delta, double* shrunk, double* raw) {
  delta.resize(size_t(block.rows * block.k));
  UnscaledErrors(block, original, method.s(), delta.data());
  std::vector<double> noise;  // before RowLosses overwrites Δ
  if (!method.noise().empty()) {
    noise.assign(size_t(block.rows), 0.0);
    AddNoise(method.noise(), original, delta.data(), block.rows, block.k, method.s(), noise.data());
  }
  method.gram().RowLosses(delta.data(), block.rows, 0, block.k, shrunk, raw);
  for (size_t r = 0; r < noise.size(); ++r) {
    shrunk[r] += noise[r];
    raw[r] += noise[r];
  }
}

/// Throws InputError for rows whose energies are not numbers.
void CheckFinite(const LinearTask& task, std::span<const double> energies) {
  if (std::ranges::all_of(energies, [](double energy) { return std::isfinite(energy); })) return;
  RefuseWeight(task.name);
}

/// The same for rows of which a scale times codes, as some runtimes compute it, would be infinite.
void CheckScales(const LinearTask& task, const RowBlock& block) {
  constexpr float kMost = 2e37f;
  const float codes = block.spec.uniform() ? float(block.spec.levels()) : 1.0f;
  const std::span<const float> scales(block.scales,
                                      size_t(block.rows * block.spec.GroupsFor(block.k)));
  if (std::ranges::any_of(scales, [&](float scale) { return std::abs(scale) > kMost / codes; })) {
    RefuseWeight(task.name);
  }
}

/// Where the sums of a tile's rows go.
struct RowSums {
  double* losses;
  double* plain_losses;
  double* shrunk_losses;
  double* energies;  ///< not of scaled rows
};

/// Quantizes one tile of rows in the plain way; both losses are what that costs.
void QuantizePlain(const RowMethod& method, const LinearTask& task, const RowBlock& out,
                   const float* original, Buffers& buffers, const RowSums& sums) {
  const auto check = [&] { CheckFinite(task, std::span(sums.energies, size_t(out.rows))); };
  if (method.s().empty() && method.gram().identity() && out.spec.uniform()) {
    RoundPlainRows(out, sums.losses, sums.energies);
    std::copy_n(sums.losses, out.rows, sums.shrunk_losses);
    check();
    CheckScales(task, out);
    return;
  }
  if (method.s().empty()) {
    method.gram().RowEnergies(original, out.rows, sums.energies);
    check();
  }
  method.RoundPlainly(out);
  CheckScales(task, out);
  Losses(method, out, original, buffers.delta, sums.shrunk_losses, sums.losses);
}

/// Quantizes one tile of rows; the better of both ways ends in `out`.
void QuantizeTile(const RowMethod& method, const LinearTask& task, const RowBlock& out,
                  const float* original, Buffers& buffers, const RowSums& sums) {
  QuantizePlain(method, task, out, original, buffers, sums);
  std::copy_n(sums.losses, out.rows, sums.plain_losses);
  if (method.plain_only()) return;

  const int64_t groups = out.spec.GroupsFor(out.k);
  QuantizedMatrix tile(out.spec, out.rows, out.k);
  const RowBlock other = RowsOf(tile, 0, out.rows, out.w);
  method.Round(other);
  buffers.losses.resize(size_t(out.rows));
  buffers.raw.resize(size_t(out.rows));
  Losses(method, other, original, buffers.delta, buffers.losses.data(), buffers.raw.data());
  for (int64_t r = 0; r < out.rows; ++r) {
    const double shrunk = buffers.losses[size_t(r)];
    const double raw = buffers.raw[size_t(r)];
    if (!(shrunk < sums.shrunk_losses[r]) || !(raw <= sums.losses[r])) continue;
    sums.shrunk_losses[r] = shrunk;
    sums.losses[r] = raw;
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

bool RowPieces::IsPlain() const {
  return grid.make == MakeMinmaxGrid && rounding.make == MakeNearestRounding && refine == 0;
}

RowBlock RowBlock::Rows(int64_t begin, int64_t count) const {
  const int64_t groups = spec.GroupsFor(k);
  return {spec,
          count,
          k,
          w + begin * k,
          scales + begin * groups,
          zero_points + begin * groups,
          codes + begin * k};
}

void Errors(const RowBlock& block, std::vector<float>& delta) {
  delta.resize(size_t(block.rows * block.k));
  UnscaledErrors(block, block.w, {}, delta.data());
}

RowMethod::RowMethod(const GramView& gram, std::vector<double> noise, std::span<const float> s,
                     const RowPieces& pieces)
    : gram_(gram),
      s_(s),
      noise_(gram.identity() ? std::vector<double>() : std::move(noise)),
      scaled_(gram.Scaled(s, noise_)),
      plain_only_(pieces.IsPlain()),
      plain_grid_(MakeMinmaxGrid(scaled_)),
      plain_rounding_(MakeNearestRounding(scaled_)) {
  if (plain_only_) return;
  grid_ = pieces.grid.make(scaled_);
  rounding_ = pieces.rounding.make(scaled_);
  refine_ = MakeRefinement(scaled_, pieces.refine);
}

void RowMethod::RoundPlainly(const RowBlock& block) const {
  plain_grid_(block);
  plain_rounding_(block);
}

void RowMethod::Round(const RowBlock& block) const {
  grid_(block);
  rounding_(block);
  if (refine_ != nullptr) refine_(block);
}

LinearQuantization QuantizeLinear(const RowMethod& method, const LinearTask& task) {
  const int64_t n = task.w.rows();
  const int64_t k = task.w.cols();
  LinearQuantization outcome;
  outcome.q = QuantizedMatrix(task.spec, n, k);
  std::vector<double> losses(static_cast<size_t>(n));
  std::vector<double> plain_losses(static_cast<size_t>(n));
  std::vector<double> shrunk_losses(static_cast<size_t>(n));
  std::vector<double> energies(static_cast<size_t>(n));
  const int64_t tile = RowTile(method.gram());
  const int64_t grain = method.gram().identity() ? kTilesInTask * tile : tile;
  ParallelForTiles(n, grain, [&](int64_t first, int64_t last) {
    Buffers buffers;
    for (int64_t begin = first; begin < last; begin += tile) {
      const int64_t rows = std::min(tile, last - begin);
      const float* original = task.w.Get(begin, begin + rows, buffers.w);
      const RowBlock block =
          RowsOf(outcome.q, begin, rows, ScaledRows(original, rows, k, method.s(), buffers.scaled));
      QuantizeTile(method, task, block, original, buffers,
                   {losses.data() + begin, plain_losses.data() + begin,
                    shrunk_losses.data() + begin, energies.data() + begin});
    }
  });
  const auto sum = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
  };
  outcome.loss = sum(losses);
  outcome.loss_plain = sum(plain_losses);
  outcome.shrunk_loss = sum(shrunk_losses);
  outcome.energy = sum(energies);
  return outcome;
}

std::vector<double> LossesOf(const GramView& gram, const ActivationNoise& noise,
                             std::span<const std::span<const float>> scales,
                             const RowPieces& pieces, const LinearTask& task) {
  const auto count = static_cast<int64_t>(scales.size());
  const int64_t rows = task.w.rows();
  const int64_t k = task.w.cols();
  std::vector<float> made;
  const float* original = task.w.Get(0, rows, made);
  const bool plain_only = pieces.IsPlain();
  std::vector<float> plain(size_t(count * rows * k));
  std::vector<float> other(plain_only ? 0 : plain.size());
  std::vector<double> plain_noise(size_t(count * rows), 0.0), other_noise(plain_noise);
  const int64_t parts = (rows + kSampleRows - 1) / kSampleRows;
  std::vector<std::vector<double>> noises(scales.size());
  ParallelFor(count, [&](int64_t i) { noises[size_t(i)] = noise.LossesFor(scales[size_t(i)]); });
  ParallelFor(count * parts, [&](int64_t i) {
    const RowMethod method(gram, noises[size_t(i / parts)], scales[size_t(i / parts)], pieces);
    const int64_t begin = i % parts * kSampleRows;
    const int64_t part = std::min(kSampleRows, rows - begin);
    const float* w = original + begin * k;
    const int64_t to = (i / parts * rows + begin) * k;
    std::vector<float> scaled;
    QuantizedMatrix q(task.spec, part, k);
    const RowBlock block = RowsOf(q, 0, part, ScaledRows(w, part, k, method.s(), scaled));
    method.RoundPlainly(block);
    UnscaledErrors(block, w, method.s(), plain.data() + to);
    const auto add_noise = [&](const std::vector<float>& deltas, std::vector<double>& sums) {
      AddNoise(method.noise(), w, deltas.data() + to, part, k, method.s(), sums.data() + to / k);
    };
    add_noise(plain, plain_noise);
    if (plain_only) return;
    method.Round(block);
    UnscaledErrors(block, w, method.s(), other.data() + to);
    add_noise(other, other_noise);
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
    sums[i / size_t(rows)] +=
        std::min(losses[i] + plain_noise[i], other_losses[i] + other_noise[i]);
  }
  return sums;
}

LossSplit SplitLoss(const GramView& gram, std::span<const float> s, const LinearTask& task,
                    const QuantizedMatrix& q) {
  const int64_t n = task.w.rows(), k = task.w.cols();
  const int64_t groups = q.spec.GroupsFor(k);
  const GramView scaled = gram.Scaled(s);
  const Rounding round = MakeNearestRounding(scaled);
  std::vector<double> codes(static_cast<size_t>(n)), nearest(codes), shrunk(codes);
  ParallelForTiles(n, RowTile(gram), [&](int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    Buffers buffers;
    const float* original = task.w.Get(begin, end, buffers.w);
    QuantizedMatrix tile(q.spec, rows, k);
    std::copy_n(q.scales.begin() + begin * groups, rows * groups, tile.scales.begin());
    std::copy_n(q.zero_points.begin() + begin * groups, rows * groups, tile.zero_points.begin());
    std::copy_n(q.codes.begin() + begin * k, rows * k, tile.codes.begin());
    const RowBlock block = RowsOf(tile, 0, rows, ScaledRows(original, rows, k, s, buffers.scaled));
    buffers.delta.resize(size_t(rows * k));
    for (std::vector<double>* losses : {&codes, &nearest}) {
      UnscaledErrors(block, original, s, buffers.delta.data());
      gram.RowLosses(buffers.delta.data(), rows, 0, k, shrunk.data() + begin,
                     losses->data() + begin);
      if (losses == &codes) round(block);
    }
  });
  return {std::accumulate(codes.begin(), codes.end(), 0.0),
          std::accumulate(nearest.begin(), nearest.end(), 0.0)};
}

double Energy(const GramView& gram, std::span<const float> w, int64_t n) {
  std::vector<double> energies(static_cast<size_t>(n));
  ParallelForTiles(n, RowTile(gram), [&](int64_t begin, int64_t end) {
    gram.RowEnergies(w.data() + begin * gram.k(), end - begin, energies.data() + begin);
  });
  return std::accumulate(energies.begin(), energies.end(), 0.0);
}

void RefuseWeight(const std::string& name) {
  throw InputError(
      "weight '" + name +
      "' holds a NaN, an infinite value or one beyond 1e37; repair the model or exclude it");
}

}  // namespace ptq
