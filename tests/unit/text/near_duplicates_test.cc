// Texts that are nearly equal are found, and runs of words are counted as people count words.
#include "ptq/text/near_duplicates.h"

#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

std::string RandomWords(std::mt19937& generator, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < 6; ++c) text += char('a' + generator() % 26);
    text += ' ';
  }
  return text;
}

/// Jaccard similarity of the sets of runs of five characters.
double Similarity(const std::string& a, const std::string& b) {
  const auto runs = [](const std::string& text) {
    std::set<std::string> found;
    for (size_t i = 0; i + 5 <= text.size(); ++i) found.insert(text.substr(i, 5));
    return found;
  };
  const auto first = runs(a), second = runs(b);
  size_t common = 0;
  for (const std::string& run : first) common += second.count(run);
  return double(common) / double(first.size() + second.size() - common);
}

TEST(FindNearDuplicates, FollowsTheJaccardSimilarity) {
  std::mt19937 generator(5);
  int near = 0, far = 0;
  for (int i = 0; i < 60; ++i) {
    const std::string text = RandomWords(generator, 40);
    std::string changed = text;
    for (int word = 0; word < 2 * (i % 12); ++word) {  // each changed letter spoils five runs
      changed[size_t(generator() % (changed.size() - 1))] = 'A';
    }
    const double similarity = Similarity(text, changed);
    const bool found = FindNearDuplicates(std::vector<std::string>{text, changed})[1] == 0;
    if (similarity > 0.9) {
      EXPECT_TRUE(found) << similarity;
      ++near;
    }
    if (similarity < 0.68) {
      EXPECT_FALSE(found) << similarity;
      ++far;
    }
  }
  EXPECT_GT(near, 5);
  EXPECT_GT(far, 5);
}

TEST(FindNearDuplicates, NamesTheFirstAndIgnoresCaseLongNumbersAndBlanks) {
  std::mt19937 generator(6);
  const std::string a = "2024-01-02 request 1741 of user bob failed because the disk is full";
  const std::string b = "2025-01-02  Request 471100 of user Bob failed because the disk is full\n";
  const std::string other = RandomWords(generator, 12);
  EXPECT_THAT(FindNearDuplicates(std::vector<std::string>{a, other, b, other, ""}),
              ElementsAre(0, 1, 0, 1, 4));
}

TEST(FindNearDuplicates, TellsShortNumbersApart) {
  EXPECT_THAT(FindNearDuplicates(std::vector<std::string>{"12 + 30 = 42", "17 + 5 = 22"}),
              ElementsAre(0, 1));
}

TEST(FindNearDuplicates, DoesNotDependOnTheThreads) {
  std::mt19937 generator(7);
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) {
    texts.push_back(i % 3 == 2 ? texts[generator() % texts.size()] : RandomWords(generator, 10));
  }
  const auto all = FindNearDuplicates(texts);
  const ThreadLimit one(1);
  EXPECT_EQ(FindNearDuplicates(texts), all);
}

TEST(WordRuns, AreOfLettersAndDigitsInLowerCase) {
  EXPECT_EQ(CountWords("Don't stop, me\xC3\xA9! 42"), 5U);
  EXPECT_EQ(WordRuns("The Cat sat", 3), WordRuns("the cat -- SAT.", 3));
  EXPECT_THAT(WordRuns("a b c d", 3), SizeIs(2));
  EXPECT_THAT(WordRuns("a b", 3), SizeIs(0));
}

TEST(WordRuns, CountEachCharacterWhereThereAreNoBlanks) {
  EXPECT_EQ(CountWords("\xE4\xBB\x8A\xE5\xA4\xA9 ok"), 3U);  // two ideographs and a word
  EXPECT_EQ(CountWords("\xEC\x95\x88\xEB\x85\x95 ok"), 2U);  // Hangul has blanks
}

TEST(DistinctRuns, AreThePartThatDiffers) {
  EXPECT_DOUBLE_EQ(DistinctRuns(std::vector<std::string>{"a b c d", "a b c d"}, 3), 0.5);
  EXPECT_DOUBLE_EQ(DistinctRuns(std::vector<std::string>{"a b c d", "e f g h"}, 3), 1);
}

TEST(RunIndex, FindsCommonRunsAndEqualShortTexts) {
  RunIndex index(4);
  index.Add("one two three four five");
  index.Add("yes no");
  EXPECT_TRUE(index.Overlaps("and Two, three; four FIVE again"));
  EXPECT_FALSE(index.Overlaps("one two three or four five"));
  EXPECT_TRUE(index.Overlaps("Yes, no"));
  EXPECT_FALSE(index.Overlaps("yes"));
}

}  // namespace
}  // namespace ptq
