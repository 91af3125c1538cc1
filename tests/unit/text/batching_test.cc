// Which samples share blocks and batches.
#include "ptq/text/batching.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Samples = std::vector<std::vector<int64_t>>;

/// Samples of the given lengths; sample i consists of 1000 · i + position.
Samples OfLengths(const std::vector<int>& lengths) {
  Samples samples;
  for (size_t i = 0; i < lengths.size(); ++i) {
    auto& sample = samples.emplace_back();
    for (int t = 0; t < lengths[i]; ++t) sample.push_back(static_cast<int64_t>(1000 * i) + t);
  }
  return samples;
}

TEST(MakeMicroBatches, PutsEqualLengthsIntoOneBlock) {
  const Samples samples = OfLengths({3, 5, 3, 5, 5});
  const auto batches = MakeMicroBatches(samples, 100, 512);
  ASSERT_EQ(batches.size(), 1u);
  ASSERT_EQ(batches[0].blocks.size(), 2u);
  const TokenBlock& block = batches[0].blocks[0];
  EXPECT_EQ(block.length, 5);
  EXPECT_EQ(block.batch, 3);
  EXPECT_EQ(block.samples, (std::vector<size_t>{1, 3, 4}));
  EXPECT_EQ(std::vector<int64_t>(block.ids.begin() + 5, block.ids.begin() + 10), samples[3]);
  EXPECT_EQ(batches[0].blocks[1].samples, (std::vector<size_t>{0, 2}));
  EXPECT_EQ(batches[0].tokens, 21);
}

TEST(MakeMicroBatches, GivesASampleOverTheBudgetsItsOwnBatch) {
  const Samples samples = OfLengths({2, 50, 2});
  const auto batches = MakeMicroBatches(samples, 10, 4);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].tokens, 50);
  ASSERT_EQ(batches[1].blocks.size(), 1u);
  EXPECT_EQ(batches[1].blocks[0].batch, 2);
}

TEST(MakeMicroBatches, LeavesEmptySamplesOut) {
  EXPECT_TRUE(MakeMicroBatches(OfLengths({0, 0}), 10, 10).empty());
}

TEST(MakeMicroBatches, RefusesABudgetOfNothing) {
  EXPECT_THROW((void)MakeMicroBatches(OfLengths({1}), 0, 1), UsageError);
  EXPECT_THROW((void)MakeMicroBatches(OfLengths({1}), 1, 0), UsageError);
}

TEST(MakeMicroBatches, HoldsEverySampleOnceWithinBothBudgets) {
  std::mt19937_64 generator(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<int> lengths(1 + generator() % 60);
    for (int& length : lengths) length = 1 + static_cast<int>(generator() % 40);
    const Samples samples = OfLengths(lengths);
    const int64_t budget = 1 + static_cast<int64_t>(generator() % 200);
    const int64_t block_budget = 1 + static_cast<int64_t>(generator() % 100);
    std::vector<int> seen(samples.size(), 0);
    for (const MicroBatch& batch : MakeMicroBatches(samples, budget, block_budget)) {
      int64_t tokens = 0;
      for (const TokenBlock& block : batch.blocks) {
        ASSERT_EQ(static_cast<int64_t>(block.ids.size()), block.batch * block.length);
        ASSERT_EQ(static_cast<int64_t>(block.samples.size()), block.batch);
        EXPECT_TRUE(block.batch == 1 || block.batch * block.length <= block_budget);
        for (size_t row = 0; row < block.samples.size(); ++row) {
          ++seen[block.samples[row]];
          EXPECT_TRUE(std::equal(samples[block.samples[row]].begin(),
                                 samples[block.samples[row]].end(),
                                 block.ids.begin() + static_cast<int64_t>(row) * block.length));
        }
        tokens += block.batch * block.length;
      }
      EXPECT_EQ(batch.tokens, tokens);
      EXPECT_TRUE(batch.blocks.size() == 1 || tokens <= budget);
    }
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  }
}

TEST(MakeMicroBatches, MakesTheSameBlocksForAnyBudgetOfTokens) {
  const Samples samples = OfLengths({150, 150, 9, 150, 300, 150, 150, 9, 40, 40, 40, 700});
  const auto blocks = [&](int64_t budget) {
    std::vector<std::vector<size_t>> members;
    for (const MicroBatch& batch : MakeMicroBatches(samples, budget, 512)) {
      for (const TokenBlock& block : batch.blocks) members.push_back(block.samples);
    }
    return members;
  };
  EXPECT_EQ(blocks(1), blocks(100000));
  EXPECT_EQ(blocks(600), blocks(100000));
}

TEST(MakePaddedBatches, PadsToTheLongestRowsWhichLoseATokenThemselves) {
  const std::vector<std::vector<int64_t>> samples = {{1, 2}, {3, 4, 5, 6}, {}, {7}, {8, 9, 10, 11}};
  const auto batches = MakePaddedBatches(samples, 0, 100);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_TRUE(batches[0].padded());
  EXPECT_EQ(batches[0].tokens, 12);
  const TokenBlock& block = batches[0].blocks[0];
  EXPECT_EQ(block.batch, 3);
  EXPECT_EQ(block.length, 4);
  EXPECT_EQ(block.ids, (std::vector<int64_t>{1, 2, 0, 0, 3, 4, 5, 0, 8, 9, 10, 0}));
  EXPECT_EQ(block.real, (std::vector<int64_t>{2, 3, 3}));
  EXPECT_EQ(block.samples, (std::vector<size_t>{0, 1, 4}));
}

TEST(MakePaddedBatches, TakesNoMoreTokensThanItMayButOneBatch) {
  const auto samples = OfLengths({5, 5, 5, 5, 5, 5, 5, 5, 3, 2, 4, 4, 4, 4, 4, 4, 9});
  EXPECT_EQ(MakePaddedBatches(samples, 0, 1).size(), 1u);
  EXPECT_EQ(MakePaddedBatches(samples, 0, 40 + 32).size(), 2u);
  EXPECT_EQ(MakePaddedBatches(samples, 0, 40 + 31).size(), 1u);
  EXPECT_EQ(MakePaddedBatches(samples, 0, 1000).size(), 3u);
  EXPECT_TRUE(MakePaddedBatches(OfLengths({1, 0}), 0, 10).empty());
}

}  // namespace
}  // namespace ptq
