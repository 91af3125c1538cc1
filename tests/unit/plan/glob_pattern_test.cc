// Globs against fnmatch, and in time whatever the pattern.
#include "glob_pattern.h"

#include <random>
#include <string>
#include <vector>

#include <fnmatch.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(Glob, MatchesWhatFnmatchDoes) {
  std::mt19937 random(1);
  const auto text = [&](const std::vector<std::string>& pieces) {
    std::string made;
    for (size_t i = random() % 8; i > 0; --i) made += pieces[random() % pieces.size()];
    return made;
  };
  int matches = 0;
  for (int i = 0; i < 200'000; ++i) {
    const std::string pattern =
        text({"a", "b", "*", "?", "[ab]", "[!a]", "[a-]", "[]-]", "[^]b]", "-"});
    const std::string name = text({"a", "a", "b", "-", "]"});
    const bool expected = ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
    ASSERT_EQ(Glob(pattern).Matches(name), expected) << pattern << " on " << name;
    matches += expected ? 1 : 0;
  }
  EXPECT_GT(matches, 1000);
}

TEST(Glob, KnowsSetsClassesAndBackslashes) {
  for (const char* pattern : {"l[0-9]*", "l[[:digit:]]", "l[!a-z]", "l[^a-z]", "\\l1", "l[]1]",
                              "[[:alpha:]_]1", "l[\\1]"}) {
    EXPECT_EQ(Glob(pattern).Matches("l1"), ::fnmatch(pattern, "l1", 0) == 0) << pattern;
    EXPECT_TRUE(Glob(pattern).Matches("l1")) << pattern;
    EXPECT_FALSE(Glob(pattern).Matches("lx")) << pattern;
  }
  EXPECT_TRUE(Glob("layers.[*").Matches("layers.[x"));
  EXPECT_TRUE(Glob("a\\*b").Matches("a*b"));
  EXPECT_FALSE(Glob("a\\*b").Matches("axb"));
}

TEST(Glob, AnswersInTimeHoweverManyStars) {
  std::string pattern;
  for (int i = 0; i < 40; ++i) pattern += "*a";
  EXPECT_FALSE(Glob(pattern + "*b").Matches(std::string(2000, 'a')));
  EXPECT_TRUE(Glob(pattern + "*").Matches(std::string(2000, 'a')));
}

}  // namespace
}  // namespace ptq
