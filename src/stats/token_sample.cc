// Keeps the tokens with the least keys, which are hashes of their places.
#include "ptq/stats/token_sample.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// The generator SplitMix64 (Steele, Lea, Flood, 2014), n steps after `seed`.
uint64_t Mixed(uint64_t seed, uint64_t n) {
  uint64_t z = seed + (n + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

template <typename T>
void Append(std::string& bytes, const std::vector<T>& values) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

}  // namespace

TokenSample::TokenSample(int64_t k, std::vector<uint64_t> keys, std::vector<float> rows)
    : k_(k), keys_(std::move(keys)), rows_(std::move(rows)) {
  if (int64_t(keys_.size()) > kMost || rows_.size() != keys_.size() * size_t(k_)) {
    throw InternalError("a sample of tokens of another width");
  }
  Sort();
}

void TokenSample::Offer(uint64_t key, std::span<const float> row) {
  const bool full = count() == kMost;
  if (full && key >= keys_[last_]) return;
  if (std::ranges::find(keys_, key) != keys_.end()) return;
  if (full) {
    keys_[last_] = key;
    std::ranges::copy(row, rows_.begin() + std::ptrdiff_t(last_ * size_t(k_)));
  } else {
    keys_.push_back(key);
    rows_.insert(rows_.end(), row.begin(), row.end());
  }
  if (count() == kMost) last_ = size_t(std::ranges::max_element(keys_) - keys_.begin());
}

void TokenSample::Add(std::span<const std::span<const float>> parts,
                      std::span<const uint64_t> seeds) {
  const auto k = size_t(k_);
  for (size_t i = 0; i < seeds.size(); ++i) {
    for (size_t row = 0; row < parts[i].size() / k; ++row) {
      Offer(Mixed(seeds[i], row), parts[i].subspan(row * k, k));
    }
  }
  Sort();
}

void TokenSample::Merge(const TokenSample& other) {
  if (other.k_ != k_) throw InternalError("samples of different sites cannot be merged");
  for (size_t i = 0; i < other.keys_.size(); ++i) {
    Offer(other.keys_[i], other.rows().subspan(i * size_t(k_), size_t(k_)));
  }
  Sort();
}

void TokenSample::Gather(Ranks& ranks, int root) {
  for (int from = 0; from < ranks.size(); ++from) {
    if (from == root) continue;
    std::string bytes;
    if (ranks.rank() == from) {
      Append(bytes, keys_);
      Append(bytes, rows_);
    }
    ranks.Copy(bytes, from, root);
    if (ranks.rank() != root) continue;
    const size_t held = bytes.size() / (sizeof(uint64_t) + size_t(k_) * sizeof(float));
    std::vector<uint64_t> keys(held);
    std::vector<float> rows(held * size_t(k_));
    if (held == 0) continue;
    std::memcpy(keys.data(), bytes.data(), held * sizeof(uint64_t));
    std::memcpy(rows.data(), bytes.data() + held * sizeof(uint64_t), rows.size() * sizeof(float));
    Merge(TokenSample(k_, std::move(keys), std::move(rows)));
  }
}

void TokenSample::Sort() {
  last_ = keys_.empty() ? 0 : keys_.size() - 1;
  if (std::ranges::is_sorted(keys_)) return;  // as after most parts, of which none is kept
  std::vector<size_t> order(keys_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return keys_[i]; });
  std::vector<uint64_t> keys;
  std::vector<float> rows;
  rows.reserve(rows_.size());
  for (const size_t i : order) {
    keys.push_back(keys_[i]);
    const auto row = std::span(rows_).subspan(i * size_t(k_), size_t(k_));
    rows.insert(rows.end(), row.begin(), row.end());
  }
  keys_ = std::move(keys);
  rows_ = std::move(rows);
}

}  // namespace ptq
