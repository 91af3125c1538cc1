// Blocks are rounded to int8 by their own largest magnitude, as MatMulNBits does at level 4.
#include "ptq/tensor/block_rounding.h"

#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(RoundBlocks, KeepsWhatLiesOnTheLevelsAndRoundsHalvesToEven) {
  // Two rows of five channels in blocks of two; the steps are 1, 2, .5 and 1, 1, 3.
  std::vector<float> x = {127, 2.4f, -254, 5,   63.5f,  //
                          127, 2.5f, 3.5f, 127, -381};
  RoundBlocks(x, 5, 2);
  const std::vector<float> expected = {127, 2, -254, 4, 63.5f, 127, 2, 4, 127, -381};
  EXPECT_EQ(x, expected);
}

TEST(RoundBlocks, LeavesZerosAlone) {
  std::vector<float> x(6, 0.0f);
  RoundBlocks(x, 3, 16);
  EXPECT_EQ(x, std::vector<float>(6, 0.0f));
}

TEST(RoundsInBlocks, KnowsForWhichCodesThereIsAKernel) {
  EXPECT_TRUE(RoundsInBlocks(4, 16));
  EXPECT_TRUE(RoundsInBlocks(4, 256));
  EXPECT_TRUE(RoundsInBlocks(8, 32));
  EXPECT_TRUE(RoundsInBlocks(2, 128));
  EXPECT_FALSE(RoundsInBlocks(2, 16));
  EXPECT_FALSE(RoundsInBlocks(2, 256));
  EXPECT_FALSE(RoundsInBlocks(4, 8));
}

}  // namespace
}  // namespace ptq
