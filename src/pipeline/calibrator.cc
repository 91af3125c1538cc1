#include "ptq/pipeline/calibrator.h"

#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/parallel.h"
#include "ptq/base/stopwatch.h"

namespace ptq {
namespace {

/// A tapped activation, seen as [rows, k].
std::span<const float> Activation(const Tensor& tensor, int64_t k) {
  if (tensor.rank() == 0 || tensor.dim(-1) != k) {
    throw InternalError("an activation has not the width of its linears");
  }
  return tensor.data<float>();
}

std::vector<ValueId> Keys(const Taps& taps) {
  std::vector<ValueId> keys;
  keys.reserve(taps.size());
  for (const auto& [id, k] : taps) keys.push_back(id);
  return keys;
}

/// What each segment must hand on for the taps of later ones. The LM head's input is not needed
/// when nothing behind it is tapped, and neither are the caches that the graph gives out.
std::vector<std::vector<ValueId>> GoalsFor(const Executor& executor,
                                           const std::vector<Taps>& taps) {
  const auto& segments = executor.plan().segments();
  std::vector<std::vector<ValueId>> goals(segments.size());
  for (size_t i = segments.size(); i-- > 1;) {
    goals[i - 1] = executor.MakeJob(segments[i], goals[i], Keys(taps[i])).inputs;
  }
  return goals;
}

}  // namespace

Calibrator::Calibrator(const Executor& executor, const Feeder& feeder,
                       const std::vector<MicroBatch>& batches, const std::vector<Taps>& taps,
                       bool propagates, CutStore cuts, int64_t idle_bytes)
    : executor_(executor),
      taps_(taps),
      propagates_(propagates),
      cuts_(std::move(cuts)),
      idle_bytes_(idle_bytes),
      goals_(GoalsFor(executor, taps)) {
  size_t block = 0;
  for (const MicroBatch& batch : batches) {
    first_block_.push_back(block);
    for (const TokenBlock& tokens : batch.blocks) {
      cuts_.Put(block++, feeder.Make(tokens.ids, tokens.batch, tokens.length));
    }
  }
  first_block_.push_back(block);
}

/// Runs the blocks of a micro-batch. `advance`: their goals take the place of their inputs.
void Calibrator::RunBatch(const Job& job, const Values& constants, size_t batch, bool advance,
                          std::vector<Seen>* seen) {
  const size_t first = first_block_[batch];
  ParallelFor(int64_t(first_block_[batch + 1] - first), [&](int64_t i) {
    const size_t block = first + size_t(i);
    Tap tap;
    if (seen != nullptr) {
      tap = [&own = (*seen)[size_t(i)]](ValueId id, const Tensor& x) { own[id].push_back(x); };
    }
    Values inputs = advance ? cuts_.Take(block) : cuts_.Get(block);
    const Values goals = executor_.Run(job, constants, std::move(inputs), tap);
    if (advance) cuts_.Put(block, goals);
  });
  executor_.DropTables(job);
  ReleaseFreeMemory(idle_bytes_);  // activations' sizes vary, and freed ones pile up in gaps
}

StatisticsBySite Calibrator::Observe(size_t segment, Timings& timings) {
  const Taps& taps = taps_[segment];
  StatisticsBySite statistics;
  for (const auto& [id, k] : taps) statistics.try_emplace(id, k);
  const bool advance = !propagates_;
  const Job job = executor_.MakeJob(executor_.plan().segments()[segment],
                                    advance ? goals_[segment] : std::vector<ValueId>(), Keys(taps));
  Values constants;
  {
    const Stopwatch watch(timings.forward);
    constants = executor_.LoadConstants(job);
  }
  for (size_t batch = 0; batch + 1 < first_block_.size(); ++batch) {
    CheckInterrupt();
    std::vector<Seen> seen(first_block_[batch + 1] - first_block_[batch]);
    {
      const Stopwatch watch(timings.forward);
      RunBatch(job, constants, batch, advance, &seen);
    }
    const Stopwatch watch(timings.statistics);
    for (auto& [id, sums] : statistics) {
      std::vector<std::span<const float>> parts;
      // A block may not come to the site at all (a branch), or more than once (a loop).
      for (Seen& block : seen) {
        for (const Tensor& x : block[id]) parts.push_back(Activation(x, sums.k()));
      }
      sums.Add(parts);
    }
  }
  return statistics;
}

void Calibrator::Propagate(size_t segment, const Values& overrides) {
  if (goals_[segment].empty()) return;
  const Job job = executor_.MakeJob(executor_.plan().segments()[segment], goals_[segment], {});
  const Values constants = executor_.LoadConstants(job, overrides);
  for (size_t batch = 0; batch + 1 < first_block_.size(); ++batch) {
    CheckInterrupt();
    RunBatch(job, constants, batch, /*advance=*/true, nullptr);
  }
}

}  // namespace ptq
