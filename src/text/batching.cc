#include "ptq/text/batching.h"

#include <algorithm>
#include <numeric>

#include "ptq/base/error.h"

namespace ptq {
namespace {

int64_t LengthOf(const std::vector<int64_t>& sample) { return static_cast<int64_t>(sample.size()); }

/// Indices of the samples that are not empty, longest first.
std::vector<size_t> LongestFirst(std::span<const std::vector<int64_t>> samples) {
  std::vector<size_t> order(samples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return samples[i].empty(); });
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return samples[a].size() > samples[b].size(); });
  return order;
}

}  // namespace

std::vector<MicroBatch> MakeMicroBatches(std::span<const std::vector<int64_t>> samples,
                                         int64_t token_budget, int64_t block_budget) {
  if (token_budget < 1 || block_budget < 1) {
    throw UsageError("the token budget of a micro-batch must be at least 1");
  }
  const int64_t block_limit = std::min(token_budget, block_budget);
  std::vector<MicroBatch> batches;
  for (const size_t index : LongestFirst(samples)) {
    const std::vector<int64_t>& sample = samples[index];
    const int64_t length = LengthOf(sample);
    if (batches.empty() || batches.back().tokens + length > token_budget) batches.emplace_back();
    MicroBatch& batch = batches.back();
    if (batch.blocks.empty() || batch.blocks.back().length != length ||
        (batch.blocks.back().batch + 1) * length > block_limit) {
      batch.blocks.emplace_back().length = length;
    }
    TokenBlock& block = batch.blocks.back();
    block.ids.insert(block.ids.end(), sample.begin(), sample.end());
    block.samples.push_back(index);
    ++block.batch;
    batch.tokens += length;
  }
  return batches;
}

}  // namespace ptq
