// What calibration accumulates at a site; two of them can be merged.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/base/ranks.h"
#include "ptq/stats/token_sample.h"

namespace ptq {

/// Sums over the tokens seen at an activation x[K]. A sum is the same for any number of threads.
class SiteStatistics {
 public:
  /// Which matrices are summed.
  struct Parts {
    bool gram = true;
    bool cross = false;
  };
  explicit SiteStatistics(int64_t k, Parts parts = {true, false});
  /// What another one held: sums of x and |x| [K], the ranges of the channels [K], the Gram matrix
  /// [K, K] or nothing, and some of the tokens.
  SiteStatistics(int64_t count, std::vector<double> sum, std::vector<double> abs_sum,
                 std::vector<float> max_abs, std::vector<float> lowest, std::vector<float> highest,
                 std::vector<float> gram, TokenSample sample);

  /// Adds the tokens of every part, row-major [rows, K], in their order. `seeds`: one for each
  /// part, which names it (TokenSample), or empty: no tokens are kept.
  void Add(std::span<const std::span<const float>> parts, std::span<const uint64_t> seeds = {});
  /// The same for tokens as a quantized model gives them, with those that the original one gives in
  /// their place. Where the two have not the same tokens (as routed experts may), a part does not
  /// count for cross().
  void AddWithOriginal(std::span<const std::span<const float>> parts,
                       std::span<const std::span<const float>> originals,
                       std::span<const uint64_t> seeds = {});
  /// Counts tokens of padding, and what stands beside it, for lowest() and highest() alone.
  void Widen(std::span<const std::span<const float>> parts);
  /// Adds what another one has seen. Throws InternalError when the sizes differ.
  void Merge(const SiteStatistics& other);
  /// On rank `root`, adds what all other ranks have seen; elsewhere nothing of use is left.
  void Gather(Ranks& ranks, int root);

  [[nodiscard]] int64_t k() const { return k_; }
  /// Tokens seen.
  [[nodiscard]] int64_t count() const { return count_; }
  /// Σ x for each channel, [K].
  [[nodiscard]] std::span<const double> sum() const { return sum_; }
  /// Σ (x − x̂) for the original's x, [K]; zeros without.
  [[nodiscard]] std::span<const double> shift_sum() const { return shift_sum_; }
  /// Σ |x| for each channel, [K].
  [[nodiscard]] std::span<const double> abs_sum() const { return abs_sum_; }
  /// mean |x| for each channel, [K]; zeros when nothing was seen.
  [[nodiscard]] std::vector<float> MeanAbs() const;
  /// max |x| for each channel, [K].
  [[nodiscard]] std::span<const float> max_abs() const { return max_abs_; }
  /// The least and the largest x of each channel, [K], padding included; none is above, or below,
  /// 0.
  [[nodiscard]] std::span<const float> lowest() const { return lowest_; }
  [[nodiscard]] std::span<const float> highest() const { return highest_; }
  /// Lower triangle of Σ x xᵀ, row-major [K, K]; empty without. Accumulated in float32, a few
  /// thousand tokens at a time by the matrix library (whose error is far below one rounding a
  /// token).
  [[nodiscard]] std::span<const float> gram() const { return gram_; }
  /// Σ (x − x̂) x̂ᵀ for the original's x and the x̂ seen here, row-major [K, K]; empty without.
  [[nodiscard]] std::span<const float> cross() const { return cross_; }
  /// Some of the tokens; none of padding.
  [[nodiscard]] const TokenSample& sample() const { return sample_; }
  /// Makes gram() and cross() those of the deviations from the means, as linears with a bias of
  /// their own see them: H − Σx Σxᵀ / n. Once; nothing can be added afterwards.
  void Center();
  /// Whether every sum is a finite number.
  [[nodiscard]] bool IsFinite() const;

 private:
  int64_t k_;
  int64_t count_ = 0;
  std::vector<double> sum_;
  std::vector<double> shift_sum_;
  std::vector<double> abs_sum_;
  std::vector<float> max_abs_;
  std::vector<float> lowest_;
  std::vector<float> highest_;
  std::vector<float> gram_;
  std::vector<float> cross_;
  TokenSample sample_;
  bool centered_ = false;
};

}  // namespace ptq
