// Runs blocks of queries of one head as tasks: scores, biases, softmax, product with the values.
#include "attention_core.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>

#include "array.h"
#include "vector_math.h"

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/base/parallel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
/// Scores of one task: 1 MiB.
constexpr int64_t kBlockScores = 1 << 18;
constexpr int64_t kMostRows = 128;

struct TokenRange {
  int64_t begin;
  int64_t end;
  [[nodiscard]] bool empty() const { return begin >= end; }
};

int64_t Of(const Shape& values, int64_t batch, int64_t fallback) {
  return values.empty() ? fallback : values[static_cast<size_t>(batch)];
}

/// The keys that query `t` may use.
TokenRange KeysOf(const AttentionProblem& p, int64_t batch, int64_t t) {
  const int64_t position = Of(p.offset, batch, 0) + t;
  TokenRange range{std::max<int64_t>(0, Of(p.first_key, batch, 0)),
                   std::min(p.keys, Of(p.end_key, batch, p.keys))};
  if (p.causal) range.end = std::min(range.end, position + 1);
  if (p.right_window >= 0) {
    const int64_t reach = std::min(p.right_window, p.keys + std::abs(position));
    range.end = std::min(range.end, position + reach + 1);
  }
  if (p.left_window >= 0) range.begin = std::max(range.begin, position - p.left_window);
  if (!p.row_keys.empty()) {
    const auto& [begin, end] = p.row_keys[static_cast<size_t>(batch * p.queries + t)];
    range = {std::max(range.begin, begin), std::min(range.end, end)};
  }
  return range;
}

/// One block of queries of one head: its scores, and the way from scores to probabilities.
class Block {
 public:
  Block(const AttentionProblem& problem, int64_t batch, int64_t head, int64_t begin, int64_t end)
      : p_(problem), batch_(batch), head_(head), begin_(begin), rows_(end - begin) {
    span_ = {p_.keys, 0};
    for (int64_t t = begin; t < end; ++t) {
      const TokenRange keys = KeysOf(p_, batch_, t);
      if (keys.empty()) continue;
      span_.begin = std::min(span_.begin, keys.begin);
      span_.end = std::max(span_.end, keys.end);
    }
    if (p_.stage != ScoreStage::kNone) span_ = {0, p_.keys};
    width_ = std::max<int64_t>(0, span_.end - span_.begin);
  }

  void Run() {
    if (width_ == 0) {
      for (int64_t row = 0; row < rows_; ++row) ArrayMap<float>(Out(row), p_.value_size).setZero();
      return;
    }
    scores_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(rows_ * width_));
    const int64_t kv_head = head_ / (p_.heads / p_.kv_heads);
    const float* q = p_.q.At(batch_, head_, begin_);
    const float* k = p_.keys_by_column ? p_.k.At(batch_, kv_head, 0) + span_.begin
                                       : p_.k.At(batch_, kv_head, span_.begin);
    const MatrixView keys = p_.keys_by_column
                                ? MatrixView{k, p_.head_size, width_, p_.k.token, false}
                                : MatrixView{k, width_, p_.head_size, p_.k.token, true};
    const float* v = p_.v.At(batch_, kv_head, span_.begin);
    Gemm(p_.scale, {q, rows_, p_.head_size, p_.q.token}, keys, 0.0f, scores_.get(), width_);
    for (int64_t row = 0; row < rows_; ++row) Softmax(row);
    Gemm(1.0f, {scores_.get(), rows_, width_, width_}, {v, width_, p_.value_size, p_.v.token}, 0.0f,
         Out(0), p_.out.token);
  }

 private:
  [[nodiscard]] float* Out(int64_t row) const { return p_.out.At(batch_, head_, begin_ + row); }

  void HandOut(ScoreStage stage, int64_t row, const float* x) const {
    if (p_.stage != stage) return;
    const int64_t index = (batch_ * p_.heads + head_) * p_.queries + begin_ + row;
    std::copy(x, x + width_, p_.scores.data() + index * p_.keys);
  }

  void AddBias(const ScoreBias& bias, int64_t row, const TokenRange& keys, float* x) const {
    const float* from =
        bias.data.data() + batch_ * bias.batch + head_ * bias.head + (begin_ + row) * bias.query;
    const int64_t last = std::max(keys.begin, std::min(keys.end, bias.keys));
    if (bias.key == 1) {
      ArrayMap<float>(x + keys.begin - span_.begin, last - keys.begin) +=
          ConstArrayMap<float>(from + keys.begin, last - keys.begin);
    } else {
      for (int64_t s = keys.begin; s < last; ++s) x[s - span_.begin] += from[s * bias.key];
    }
    std::fill(x + last - span_.begin, x + keys.end - span_.begin, kMinusInfinity);
  }

  /// Scores of one row to probabilities; zero outside the keys it may use.
  void Softmax(int64_t row) {
    float* x = scores_.get() + row * width_;
    HandOut(ScoreStage::kProducts, row, x);
    TokenRange keys = KeysOf(p_, batch_, begin_ + row);
    if (keys.empty()) keys = {span_.begin, span_.begin};
    if (p_.softcap > 0.0f) {
      // A stage that is handed out covers every key, not only those in use.
      ArrayMap<float> all(x, width_);
      all = (all / p_.softcap).tanh() * p_.softcap;
    }
    HandOut(ScoreStage::kCapped, row, x);
    for (const ScoreBias& bias : p_.biases) AddBias(bias, row, keys, x);
    const int64_t begin = keys.begin - span_.begin;
    const int64_t end = keys.end - span_.begin;
    if (p_.stage == ScoreStage::kBiased) {
      std::fill(x, x + begin, kMinusInfinity);
      std::fill(x + end, x + width_, kMinusInfinity);
      HandOut(ScoreStage::kBiased, row, x);
    }
    std::fill(x, x + begin, 0.0f);
    std::fill(x + end, x + width_, 0.0f);
    HandOut(ScoreStage::kUsed, row, x);
    Normalize(x + begin, end - begin);
    HandOut(ScoreStage::kProbabilities, row, x);
  }

  void Normalize(float* x, int64_t count) const {
    if (count == 0) return;
    float largest = LargestOf(x, count);
    if (largest == kMinusInfinity) {
      std::fill_n(x, count, 0.0f);
      return;
    }
    const bool extra = !p_.sinks.empty() || p_.smooth;
    const float sink = p_.sinks.empty() ? 0.0f : p_.sinks[static_cast<size_t>(head_)];
    if (extra) largest = std::max(largest, sink);
    const float sum =
        ExpDifferences(x, largest, x, count) + (extra ? std::exp(sink - largest) : 0.0f);
    ArrayMap<float>(x, count) *= 1.0f / sum;
    const std::span<float> row(x, static_cast<size_t>(count));
    if (p_.half_probabilities) RoundToHalf(row, row);
  }

  const AttentionProblem& p_;
  const int64_t batch_;
  const int64_t head_;
  const int64_t begin_;
  const int64_t rows_;
  TokenRange span_;  ///< keys that any row of the block may use
  int64_t width_;
  std::unique_ptr<float[]> scores_;  ///< [rows, width]
};

/// One value per batch, and small enough to add positions to.
void CheckPositions(const Shape& values, int64_t batches) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const bool fits = values.empty() || static_cast<int64_t>(values.size()) == batches;
  if (fits && std::ranges::all_of(values, [](int64_t v) { return v > -kMost && v < kMost; })) {
    return;
  }
  throw InputError("attention: lengths or positions of the sequences are out of range");
}

/// The blocks below read and write without looking.
void CheckProblem(const AttentionProblem& p) {
  if (p.kv_heads <= 0 || p.heads % p.kv_heads != 0) {
    throw InputError("attention: " + std::to_string(p.heads) + " query heads cannot share " +
                     std::to_string(p.kv_heads) + " key heads");
  }
  p.q.Require(p.batches, p.heads, p.queries, p.head_size);
  if (p.keys_by_column) {
    p.k.Require(p.batches, p.kv_heads, p.head_size, p.keys);
  } else {
    p.k.Require(p.batches, p.kv_heads, p.keys, p.head_size);
  }
  p.v.Require(p.batches, p.kv_heads, p.keys, p.value_size);
  p.out.Require(p.batches, p.heads, p.queries, p.value_size);
  bool fits = true;
  for (const ScoreBias& b : p.biases) {
    fits = fits && Reaches(b.data.size(), {{p.batches, b.batch},
                                           {p.heads, b.head},
                                           {p.queries, b.query},
                                           {std::min(p.keys, b.keys), b.key}});
  }
  const int64_t rows = p.batches * p.queries;
  fits = fits && (p.row_keys.empty() || static_cast<int64_t>(p.row_keys.size()) == rows);
  fits = fits && (p.sinks.empty() || static_cast<int64_t>(p.sinks.size()) == p.heads);
  fits = fits && (p.stage == ScoreStage::kNone ||
                  Reaches(p.scores.size(), {{rows * p.heads, p.keys}, {p.keys, 1}}));
  if (!fits) throw InputError("attention: biases, sinks or scores do not fit the queries and keys");
  for (const Shape* values : {&p.offset, &p.first_key, &p.end_key}) {
    CheckPositions(*values, p.batches);
  }
}

}  // namespace

float DefaultAttentionScale(int64_t head_size) {
  return 1.0f / std::sqrt(static_cast<float>(head_size));
}

void RunAttention(const AttentionProblem& problem) {
  const AttentionProblem& p = problem;
  CheckProblem(p);
  const int64_t rows =
      std::clamp<int64_t>(kBlockScores / std::max<int64_t>(1, p.keys), 1, kMostRows);
  const int64_t blocks = (p.queries + rows - 1) / rows;
  const auto run = [&](int64_t task) {
    const int64_t block = task % blocks;
    const int64_t head = task / blocks % p.heads;
    const int64_t batch = task / blocks / p.heads;
    Block(p, batch, head, block * rows, std::min(p.queries, (block + 1) * rows)).Run();
  };
  const int64_t tasks = p.batches * p.heads * blocks;
  // Small problems (single tokens, short sentences) are not worth waking the threads for.
  const int64_t work = std::max<int64_t>(1, rows * p.keys * (p.head_size + p.value_size));
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 19) / work);
  ParallelForTiles(tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) run(task);
  });
}

}  // namespace ptq
