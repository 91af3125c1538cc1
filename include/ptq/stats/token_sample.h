// Some of the tokens that a site has seen, as they are: for what sums cannot tell.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/base/ranks.h"

namespace ptq {

/// At most kMost tokens of an activation x[K], drawn evenly from all. Each token has a number that
/// follows from where it stands; those with the least are kept, so that the same are, however the
/// tokens were divided and in whatever order they came (bottom-k sampling: Cohen, Kaplan,
/// Summarizing data using bottom-k sketches, 2007).
class TokenSample {
 public:
  static constexpr int64_t kMost = 256;

  explicit TokenSample(int64_t k) : k_(k) {}
  /// What another one held: `rows` is [keys.size(), K], at most kMost.
  TokenSample(int64_t k, std::vector<uint64_t> keys, std::vector<float> rows);

  /// The tokens of every part, row-major [rows, K]. `seeds`: one for each part, which names it
  /// among all that are ever added.
  void Add(std::span<const std::span<const float>> parts, std::span<const uint64_t> seeds);
  /// The tokens of another one. Those that both have count once.
  void Merge(const TokenSample& other);
  /// On rank `root`, the tokens of all ranks; elsewhere nothing changes.
  void Gather(Ranks& ranks, int root);

  [[nodiscard]] int64_t k() const { return k_; }
  [[nodiscard]] int64_t count() const { return int64_t(keys_.size()); }
  /// In ascending order.
  [[nodiscard]] std::span<const uint64_t> keys() const { return keys_; }
  /// [count(), K], in the order of the keys.
  [[nodiscard]] std::span<const float> rows() const { return rows_; }

 private:
  void Sort();
  void Offer(uint64_t key, std::span<const float> row);

  int64_t k_;
  std::vector<uint64_t> keys_;
  std::vector<float> rows_;
  size_t last_ = 0;  ///< where the largest key is, once there are kMost
};

}  // namespace ptq
