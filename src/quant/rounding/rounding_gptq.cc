// The rounding "gptq": later columns make up for the errors of those before them.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "cholesky.h"
#include "grid/group_grid.h"
#include "pieces.h"
#include <cblas.h>

#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Columns whose errors are passed on at once; those of earlier blocks by one product (lazily).
constexpr int64_t kGptqBlock = 128;
/// Rows that one task copies.
constexpr int64_t kGptqRowTile = 64;
/// Parts of the mean of the diagonal that are added to it, until the matrix can be factorised.
constexpr double kDampings[] = {0.01, 0.1, 1.0, 10.0, 1e3};

/// What the errors of earlier columns ask of later ones.
///
/// With H = R Rᵀ, R upper triangular, the loss of a row's errors e is Σ_k R_kk² (e_k + Σ_{j<k} e_j
/// R_jk/R_kk)². Taken in order, column k is therefore rounded to nearest after adding Σ_{j<k} e_j
/// R_jk/R_kk to it. This is GPTQ (Frantar et al. 2022, arXiv 2210.17323) without the inverse of H:
/// Chee et al. 2023 (arXiv 2307.13304, theorem 6) show that both are the same.
struct Feedback {
  std::vector<int64_t> order;  ///< channels by falling H_jj (act-order)
  std::vector<float> upper;    ///< R_jk / R_kk for j < k in that order, [K, K]
};

/// Channels by falling diagonal; equal ones in their own order.
std::vector<int64_t> FallingOrder(const GramView& gram) {
  std::vector<int64_t> order(static_cast<size_t>(gram.k()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::ranges::stable_sort(
      order, [&](int64_t a, int64_t b) { return gram.diagonal(a) > gram.diagonal(b); });
  return order;
}

/// Nothing when even the strongest damping does not make the matrix positive definite.
std::shared_ptr<const Feedback> MakeFeedback(const GramView& gram) {
  const int64_t k = gram.k();
  const auto feedback = std::make_shared<Feedback>();
  feedback->order = FallingOrder(gram);
  // The factor that starts at the last channel is the usual one of the reversed matrix.
  std::vector<int64_t> reversed(feedback->order.rbegin(), feedback->order.rend());
  std::vector<double> factor(static_cast<size_t>(k * k));
  double mean = 0;
  for (int64_t j = 0; j < k; ++j) mean += double(gram.diagonal(j)) / double(k);
  bool done = false;
  for (const double damping : kDampings) {
    gram.Permuted(reversed, factor.data());
    for (int64_t j = 0; j < k; ++j) factor[size_t(j * k + j)] += damping * (mean > 0 ? mean : 1.0);
    done = Cholesky(factor.data(), k);
    if (done) break;
  }
  if (!done) return nullptr;
  feedback->upper.resize(factor.size());
  ParallelForTiles(k, kGptqRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      for (int64_t c = j + 1; c < k; ++c) {
        const double own = factor[size_t((k - 1 - c) * k + (k - 1 - c))];
        feedback->upper[size_t(j * k + c)] =
            float(factor[size_t((k - 1 - j) * k + (k - 1 - c))] / own);
      }
    }
  });
  return feedback;
}

PTQ_VECTOR_CLONES void AddScaled(float factor, const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

/// Rows of a block in the order of a feedback.
class OrderedRows {
 public:
  OrderedRows(const RowBlock& block, const Feedback& feedback)
      : block_(block),
        feedback_(feedback),
        group_(block.spec.GroupSizeFor(block.k)),
        groups_(block.spec.GroupsFor(block.k)),
        w_(size_t(block.rows * block.k)),
        errors_(w_.size()),
        wanted_(size_t(block.rows * kGptqBlock)) {
    for (int64_t r = 0; r < block.rows; ++r) {
      for (int64_t i = 0; i < block.k; ++i) {
        w_[size_t(r * block.k + i)] = block.w[r * block.k + feedback.order[size_t(i)]];
      }
    }
  }

  void Round() {
    for (int64_t begin = 0; begin < block_.k; begin += kGptqBlock) {
      CheckInterrupt();
      RoundColumns(begin, std::min(kGptqBlock, block_.k - begin));
    }
  }

 private:
  void RoundColumns(int64_t begin, int64_t count) {
    const int64_t k = block_.k;
    for (int64_t r = 0; r < block_.rows; ++r) {
      std::copy_n(w_.data() + r * k + begin, count, wanted_.data() + r * count);
    }
    if (begin > 0) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(block_.rows), int(count),
                  int(begin), 1.0f, errors_.data(), int(k), feedback_.upper.data() + begin, int(k),
                  1.0f, wanted_.data(), int(count));
    }
    for (int64_t r = 0; r < block_.rows; ++r) RoundRow(r, begin, count);
  }

  void RoundRow(int64_t r, int64_t begin, int64_t count) {
    const int64_t k = block_.k;
    float* wanted = wanted_.data() + r * count;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t channel = feedback_.order[size_t(begin + i)];
      const int64_t g = r * groups_ + channel / group_;
      const float scale = block_.scales[g];
      const RoundedWeight rounded =
          RoundWeight(wanted[i], scale, block_.zero_points[g], block_.spec);
      block_.codes[r * k + channel] = rounded.code;
      const float error = w_[size_t(r * k + begin + i)] - rounded.level * scale;
      errors_[size_t(r * k + begin + i)] = error;
      AddScaled(error, feedback_.upper.data() + (begin + i) * k + begin + i + 1, count - i - 1,
                wanted + i + 1);
    }
  }

  const RowBlock& block_;
  const Feedback& feedback_;
  int64_t group_;
  int64_t groups_;
  std::vector<float> w_;       ///< [rows, K], ordered
  std::vector<float> errors_;  ///< w − what it became, ordered
  std::vector<float> wanted_;  ///< of the columns at work, with what earlier errors ask for
};

}  // namespace

Rounding MakeGptqRounding(const GramView& gram) {
  // Without inputs, or with independent ones, no column can make up for another.
  const auto feedback = gram.identity() ? nullptr : MakeFeedback(gram);
  if (feedback == nullptr) return MakeNearestRounding(gram);
  return [feedback](const RowBlock& block) { OrderedRows(block, *feedback).Round(); };
}

}  // namespace ptq
