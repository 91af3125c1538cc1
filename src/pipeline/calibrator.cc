#include "ptq/pipeline/calibrator.h"

#include <algorithm>

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// The activations' sizes vary, and freed ones pile up in gaps. More than this is given back.
constexpr int64_t kIdleMemory = int64_t{32} << 20;

/// A tapped activation, seen as [rows, k].
std::span<const float> Activation(const Tensor& tensor, int64_t k) {
  if (tensor.rank() == 0 || tensor.dim(-1) != k) {
    throw InternalError("an activation has not the width of its linears");
  }
  return tensor.data<float>();
}

}  // namespace

Calibrator::Calibrator(const Executor& executor, const Feeder& feeder,
                       const std::vector<MicroBatch>& batches, bool propagates)
    : executor_(executor), propagates_(propagates) {
  for (const MicroBatch& batch : batches) {
    auto& blocks = before_.emplace_back();
    for (const TokenBlock& block : batch.blocks) {
      blocks.push_back(feeder.Make(block.ids, block.batch, block.length));
    }
  }
}

StatisticsBySite Calibrator::Observe(const Segment& segment, const Taps& taps, bool keep_cut) {
  StatisticsBySite statistics;
  std::vector<ValueId> tapped;
  for (const auto& [id, k] : taps) {
    tapped.push_back(id);
    statistics.try_emplace(id, k);
  }
  const Job job =
      executor_.MakeJob(segment, keep_cut ? segment.live_out : std::vector<ValueId>(), tapped);
  const Values constants = executor_.LoadConstants(job);
  after_.assign(before_.size(), {});
  for (size_t b = 0; b < before_.size(); ++b) {
    CheckInterrupt();
    auto& blocks = before_[b];
    after_[b].resize(blocks.size());
    std::vector<std::map<ValueId, Tensor>> seen(blocks.size());
    ParallelFor(int64_t(blocks.size()), [&](int64_t i) {
      auto& own = seen[size_t(i)];
      Values inputs = propagates_ ? blocks[size_t(i)] : std::move(blocks[size_t(i)]);
      after_[b][size_t(i)] = executor_.Run(job, constants, std::move(inputs),
                                           [&](ValueId id, const Tensor& x) { own[id] = x; });
    });
    for (auto& [id, sums] : statistics) {
      std::vector<std::span<const float>> parts;
      parts.reserve(seen.size());
      for (const auto& block : seen) parts.push_back(Activation(block.at(id), sums.k()));
      sums.Add(parts);
    }
    ReleaseFreeMemory(kIdleMemory);
  }
  return statistics;
}

void Calibrator::Propagate(const Segment& segment, const Values& overrides) {
  const Job job = executor_.MakeJob(segment, segment.live_out, {});
  const Values constants = executor_.LoadConstants(job, overrides);
  for (size_t b = 0; b < before_.size(); ++b) {
    ParallelFor(int64_t(before_[b].size()), [&](int64_t i) {
      after_[b][size_t(i)] = executor_.Run(job, constants, std::move(before_[b][size_t(i)]));
    });
  }
}

void Calibrator::Advance() { before_ = std::move(after_); }

}  // namespace ptq
