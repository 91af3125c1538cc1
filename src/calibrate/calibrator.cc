// Runs each stage on all blocks of samples, and accumulates statistics of what its taps see.
#include "ptq/calibrate/calibrator.h"

#include <set>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"

namespace ptq {
namespace {

/// A tapped activation, seen as [rows, k].
std::span<const float> Activation(const Tensor& tensor, int64_t k) {
  if (tensor.rank() == 0 || tensor.dim(-1) != k) {
    throw InputError("an activation has shape " + ToString(tensor.shape()) +
                     ", and linears read rows of " + std::to_string(k) +
                     " of it: what the model declares is not what it computes");
  }
  return tensor.data<float>();
}

std::vector<ValueId> Keys(const Taps& taps) {
  std::vector<ValueId> keys;
  keys.reserve(taps.size());
  for (const auto& [id, k] : taps) keys.push_back(id);
  return keys;
}

/// What each stage must hand on for the taps of later ones. The LM head's input is not needed when
/// nothing behind it is tapped, and neither are the caches that the graph gives out.
std::vector<std::vector<std::vector<ValueId>>> GoalsFor(const Executor& executor,
                                                        const Stages& stages) {
  std::vector<std::vector<std::vector<ValueId>>> goals(stages.size());
  std::set<ValueId> needed;  // by all stages up to the next that advances
  for (size_t i = stages.size(); i-- > 0;) {
    goals[i].resize(stages[i].size());
    for (size_t j = stages[i].size(); j-- > 0;) {
      const Stage& stage = stages[i][j];
      if (stage.advances) goals[i][j].assign(needed.begin(), needed.end());
      const auto inputs = executor.MakeJob(stage.range, goals[i][j], Keys(stage.taps)).inputs;
      if (stage.advances) needed.clear();
      needed.insert(inputs.begin(), inputs.end());
    }
  }
  return goals;
}

/// What each block has seen at one tap, in order. `seeds`: of the blocks.
struct TapParts {
  std::vector<std::span<const float>> values;
  std::vector<uint64_t> seeds;
};

TapParts PartsOf(const std::vector<std::map<ValueId, std::vector<Tensor>>>& seen,
                 std::span<const uint64_t> seeds, ValueId id, int64_t k) {
  TapParts parts;
  // A block may not come to the site at all (a branch), or more than once (a loop).
  for (size_t block = 0; block < seen.size(); ++block) {
    const auto found = seen[block].find(id);
    if (found == seen[block].end()) continue;
    for (size_t i = 0; i < found->second.size(); ++i) {
      parts.values.push_back(Activation(found->second[i], k));
      parts.seeds.push_back(seeds[block] + i);
    }
  }
  return parts;
}

}  // namespace

Calibrator::Calibrator(const Executor& executor, const Feeder& feeder,
                       const std::vector<MicroBatch>& batches, Stages stages, bool propagates,
                       CutStore cuts, int64_t idle_bytes)
    : executor_(executor),
      stages_(std::move(stages)),
      propagates_(propagates),
      cuts_(std::move(cuts)),
      idle_bytes_(idle_bytes),
      goals_(GoalsFor(executor, stages_)) {
  size_t block = 0;
  for (const MicroBatch& batch : batches) {
    first_block_.push_back(block);
    padded_.push_back(batch.padded());
    block += batch.blocks.size();
  }
  first_block_.push_back(block);
  block = 0;
  for (const MicroBatch& batch : batches) {
    for (const TokenBlock& tokens : batch.blocks) {
      seeds_.push_back(FastHash(std::as_bytes(std::span(tokens.ids))));
      const Values inputs =
          batch.padded() ? feeder.MakePadded(tokens.ids, tokens.batch, tokens.length, tokens.real)
                         : feeder.Make(tokens.ids, tokens.batch, tokens.length);
      for (size_t stream = 0; stream < StreamsFor(propagates); ++stream) {
        cuts_.Put(stream * blocks() + block, inputs);
      }
      ++block;
    }
  }
}

/// Runs the blocks of a micro-batch and returns what each of them has seen.
std::vector<Calibrator::Seen> Calibrator::RunBatch(const Job& job, const Values& constants,
                                                   size_t batch, size_t stream, const Stage& stage,
                                                   const ValueEdits& edits) {
  const size_t first = first_block_[batch];
  std::vector<Seen> seen(first_block_[batch + 1] - first);
  ParallelFor(int64_t(seen.size()), [&](int64_t i) {
    const size_t place = stream * blocks() + first + size_t(i);
    const Tap tap = [&own = seen[size_t(i)]](ValueId id, const Tensor& x) { own[id].push_back(x); };
    Values inputs = stage.advances ? cuts_.Take(place) : cuts_.Get(place);
    const Values goals = executor_.Run(job, constants, std::move(inputs), tap, edits);
    if (!stage.advances) return;
    cuts_.Put(place, goals, stage.inner ? CutStore::Keep::kExact : CutStore::Keep::kCompact);
  });
  executor_.DropTables(job);
  ReleaseFreeMemory(idle_bytes_);  // activations' sizes vary, and freed ones pile up in gaps
  return seen;
}

StatisticsBySite Calibrator::Observe(size_t segment, size_t index, const Overrides& quantized,
                                     Timings& timings) {
  const Stage& stage = stages_[segment][index];
  const std::vector<ValueId>& goals = goals_[segment][index];
  StatisticsBySite statistics;
  for (const auto& [id, k] : stage.taps) {
    statistics.try_emplace(id, k, SiteStatistics::Parts{.gram = true, .cross = propagates_});
  }
  if (goals.empty() && stage.taps.empty()) return statistics;
  const Job job = executor_.MakeJob(stage.range, goals, Keys(stage.taps));
  std::vector<Values> constants;  // of each stream
  {
    const Stopwatch watch(timings.forward);
    constants.push_back(executor_.LoadConstants(job));
    if (propagates_) constants.push_back(executor_.LoadConstants(job, quantized.constants));
  }
  for (size_t batch = 0; batch + 1 < first_block_.size(); ++batch) {
    CheckInterrupt();
    Progress::ShowDetail("calibrating segment " + std::to_string(segment + 1) + ", batch " +
                         std::to_string(batch + 1) + " of " +
                         std::to_string(first_block_.size() - 1));
    std::vector<std::vector<Seen>> seen;
    for (size_t stream = 0; stream < constants.size(); ++stream) {
      const Stopwatch watch(stream == 0 ? timings.forward : timings.propagate);
      seen.push_back(RunBatch(job, constants[stream], batch, stream, stage,
                              stream == 0 ? ValueEdits() : quantized.edits));
    }
    const Stopwatch watch(timings.statistics);
    for (auto& [id, sums] : statistics) {
      const auto seeds = std::span(seeds_).subspan(first_block_[batch], seen.back().size());
      const auto parts = PartsOf(seen.back(), seeds, id, sums.k());
      if (padded_[batch]) {
        sums.Widen(parts.values);
      } else if (propagates_) {
        const auto originals = PartsOf(seen.front(), seeds, id, sums.k());
        sums.AddWithOriginal(parts.values, originals.values, parts.seeds);
      } else {
        sums.Add(parts.values, parts.seeds);
      }
    }
  }
  return statistics;
}

}  // namespace ptq
