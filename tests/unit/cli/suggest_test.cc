// Which word is offered in place of an unknown one.
#include "options/suggest.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

const std::vector<std::string> kOptions = {"--bits",   "--group-size", "--method",      "--seq-len",
                                           "--calib",  "--calib-long", "--calib-split", "--include",
                                           "--format", "--scaling"};
const std::vector<std::string> kMethods = {"rtn",      "awq",  "smoothquant", "gptq",
                                           "awq-gptq", "best", "adaround"};

TEST(EditDistance, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(EditDistance("", ""), 0U);
  EXPECT_EQ(EditDistance("", "abc"), 3U);
  EXPECT_EQ(EditDistance("bits", "bit"), 1U);
  EXPECT_EQ(EditDistance("bits", "bist"), 1U);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3U);
  EXPECT_EQ(EditDistance("ca", "abc"), 3U);  // no part is edited twice
}

TEST(EditDistance, IsSymmetricAndNoLongerThanTheLongerWord) {
  std::mt19937 random(13);
  for (int i = 0; i < 500; ++i) {
    std::string words[2];
    for (std::string& word : words) {
      for (size_t n = random() % 8; n > 0; --n) word += char('a' + random() % 3);
    }
    const size_t edits = EditDistance(words[0], words[1]);
    EXPECT_EQ(edits, EditDistance(words[1], words[0]));
    EXPECT_LE(edits, std::max(words[0].size(), words[1].size()));
    EXPECT_EQ(edits == 0, words[0] == words[1]);
  }
}

TEST(Closest, FindsSlipsOfTheFinger) {
  EXPECT_EQ(Closest("--bist", kOptions), "--bits");
  EXPECT_EQ(Closest("--bit", kOptions), "--bits");
  EXPECT_EQ(Closest("--Group_Size", kOptions), "--group-size");
  EXPECT_EQ(Closest("--groupsize", kOptions), "--group-size");
  EXPECT_EQ(Closest("awq_gptq", kMethods), "awq-gptq");
  EXPECT_EQ(Closest("AWQ", kMethods), "awq");
  EXPECT_EQ(Closest("gtpq", kMethods), "gptq");
  EXPECT_EQ(Closest("smoothqant", kMethods), "smoothquant");
}

TEST(Closest, TakesTheShortestThatAWordBegins) {
  EXPECT_EQ(Closest("--calib-", kOptions), "--calib-long");
  EXPECT_EQ(Closest("--cal", kOptions), "--calib");
  EXPECT_EQ(Closest("smooth", kMethods), "smoothquant");
}

TEST(Closest, TakesTheLongestThatBeginsAWord) {
  EXPECT_EQ(Closest("awq-gptq-new", kMethods), "awq-gptq");
}

TEST(Closest, OffersNothingForOtherWords) {
  EXPECT_EQ(Closest("xyz", kMethods), "");
  EXPECT_EQ(Closest("", kMethods), "");
  EXPECT_EQ(Closest("q", kMethods), "");
  EXPECT_EQ(Closest("--unheard", kOptions), "");
  EXPECT_EQ(Closest(std::string(100000, 'a'), kMethods), "");
}

TEST(DidYouMean, IsAQuestionOrNothing) {
  EXPECT_EQ(DidYouMean("--bist", kOptions), "; did you mean '--bits'?");
  EXPECT_EQ(DidYouMean("--unheard", kOptions), "");
}

}  // namespace
}  // namespace ptq
