// Entries are handed over with all their members, from every form of file.
#include "ptq/text/examples.h"

#include <string>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::optional<std::vector<Example>> Read(const std::string& name, const std::string& content) {
  const testing::TempDirectory directory;
  return ReadExamples(directory.Write(name, content), {"label"});
}

TEST(ReadExamples, KeepsMembersThatAreNoTexts) {
  const auto found = Read("a.jsonl", R"({"query": "q", "positive": ["a", "b"], "label": 3})"
                                     "\n"
                                     R"({"query": "r", "positive": "c"})"
                                     "\n");
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].members["label"], 3);
  EXPECT_THAT(TextsIn((*found)[0], "positive"), ElementsAre("a", "b"));
  EXPECT_EQ(TextIn((*found)[1], "positive"), "c");
  EXPECT_THAT(TextsIn((*found)[1], "label"), IsEmpty());
  EXPECT_EQ((*found)[1].where, "a.jsonl: entry 2");
}

TEST(ReadExamples, ReadsTables) {
  const auto found = Read("a.csv", "text,label\n\"one, two\",good\n");
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(TextIn((*found)[0], "text"), "one, two");
  EXPECT_EQ(TextIn((*found)[0], "label"), "good");
}

TEST(ReadExamples, TakesTwoColumnsWithoutNamesForSourcesAndTargets) {
  const auto found = Read("a.tsv", "one\ttwo\nthree\tfour\n");
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ(TextIn((*found)[1], "source"), "three");
  EXPECT_EQ(TextIn((*found)[1], "target"), "four");
  EXPECT_EQ(Read("b.tsv", "source\ttarget\nx\ty\n")->size(), 1u);
  EXPECT_THROW((void)Read("c.tsv", "one\ttwo\nthree\n"), InputError);
}

TEST(ReadExamples, FindsNoneInPlainText) {
  EXPECT_FALSE(Read("a.txt", "one\n\ntwo\n").has_value());
  EXPECT_FALSE(ReadExamples("no/such/file.jsonl", {}).has_value());
}

}  // namespace
}  // namespace ptq
