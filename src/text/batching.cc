// Sorts samples by length, the longest first, and fills blocks and batches up to their budgets.
#include "ptq/text/batching.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Rows of a padded batch.
constexpr size_t kPaddedRows = 8;

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
  std::vector<TokenBlock> blocks;
  for (const size_t index : LongestFirst(samples)) {
    const std::vector<int64_t>& sample = samples[index];
    const int64_t length = LengthOf(sample);
    if (blocks.empty() || blocks.back().length != length ||
        (blocks.back().batch + 1) * length > block_budget) {
      blocks.emplace_back().length = length;
    }
    TokenBlock& block = blocks.back();
    block.ids.insert(block.ids.end(), sample.begin(), sample.end());
    block.samples.push_back(index);
    ++block.batch;
  }
  std::vector<MicroBatch> batches;
  for (TokenBlock& block : blocks) {
    const int64_t tokens = block.batch * block.length;
    if (batches.empty() || batches.back().tokens + tokens > token_budget) batches.emplace_back();
    batches.back().tokens += tokens;
    batches.back().blocks.push_back(std::move(block));
  }
  return batches;
}

std::vector<MicroBatch> MakePaddedBatches(std::span<const std::vector<int64_t>> samples,
                                          int64_t pad, int64_t tokens) {
  std::vector<size_t> usable(samples.size());
  std::iota(usable.begin(), usable.end(), size_t{0});
  std::erase_if(usable, [&](size_t i) { return samples[i].size() < 2; });
  std::vector<MicroBatch> batches;
  for (size_t first = 0; first < usable.size(); first += kPaddedRows) {
    const auto rows =
        std::span(usable).subspan(first, std::min(kPaddedRows, usable.size() - first));
    TokenBlock block;
    block.batch = int64_t(rows.size());
    for (const size_t i : rows) block.length = std::max(block.length, LengthOf(samples[i]));
    const int64_t size = block.batch * block.length;
    if (!batches.empty() && size > tokens) break;
    tokens -= size;
    for (const size_t i : rows) {
      const int64_t real = std::min(LengthOf(samples[i]), block.length - 1);
      block.ids.insert(block.ids.end(), samples[i].begin(), samples[i].begin() + real);
      block.ids.resize(block.ids.size() + size_t(block.length - real), pad);
      block.samples.push_back(i);
      block.real.push_back(real);
    }
    batches.push_back({{std::move(block)}, size});
  }
  return batches;
}

}  // namespace ptq
