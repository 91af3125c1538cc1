// The forms in which pairs may be given, and what is said of malformed ones.
#include "ptq/text/sentence_pairs.h"

#include <string>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::optional<SentencePairs> ReadPairs(const std::string& name, const std::string& content) {
  const testing::TempDirectory directory;
  return ReadSentencePairs(directory.Write(name, content));
}

std::string PairsError(const std::string& name, const std::string& content) {
  try {
    (void)ReadPairs(name, content);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ReadSentencePairs, ReadsJsonLines) {
  const auto pairs =
      ReadPairs("a.jsonl", R"({"sentence1": "A.", "sentence2": "B.", "score": 4.5})"
                           "\n\n"
                           R"({"score": 1, "sentence2": "D.", "sentence1": "C.", "n": 2})"
                           "\r\n");
  ASSERT_TRUE(pairs.has_value());
  EXPECT_THAT(pairs->first, ElementsAre("A.", "C."));
  EXPECT_THAT(pairs->second, ElementsAre("B.", "D."));
  EXPECT_THAT(pairs->scores, ElementsAre(4.5, 1));
}

TEST(ReadSentencePairs, ReadsTheStsBenchmark) {
  const auto pairs = ReadPairs("sts-dev.csv",
                               "main\tMSR\t2012\t1\t5.000\tA \"man\", a hat.\tA man.\n"
                               "main\tMSR\t2012\t2\t0.25\tC\tD\tsource\tlicence\n");
  ASSERT_TRUE(pairs.has_value());
  EXPECT_THAT(pairs->first, ElementsAre("A \"man\", a hat.", "C"));
  EXPECT_THAT(pairs->second, ElementsAre("A man.", "D"));
  EXPECT_THAT(pairs->scores, ElementsAre(5, 0.25));
}

TEST(ReadSentencePairs, ReadsColumnsByTheirNames) {
  const auto pairs =
      ReadPairs("dev.tsv", "\xEF\xBB\xBFscore\tid\tsentence2\tsentence1\n3\t9\tB\tA\n");
  ASSERT_TRUE(pairs.has_value());
  EXPECT_THAT(pairs->first, ElementsAre("A"));
  EXPECT_THAT(pairs->second, ElementsAre("B"));
  EXPECT_THAT(pairs->scores, ElementsAre(3));
}

TEST(ReadSentencePairs, ReadsQuotedFieldsBetweenCommas) {
  const auto pairs = ReadPairs("dev.csv",
                               "split,Sentence1,sentence2,score\r\n"
                               "dev,\"A man, a \"\"hat\"\".\",B,4.5\r\n"
                               "\r\n"
                               "dev,\"two\nlines\", C ,\"0\"\n"
                               "dev,D,\"\t\"\"\",-1");
  ASSERT_TRUE(pairs.has_value());
  EXPECT_THAT(pairs->first, ElementsAre("A man, a \"hat\".", "two\nlines", "D"));
  EXPECT_THAT(pairs->second, ElementsAre("B", " C ", "\t\""));
  EXPECT_THAT(pairs->scores, ElementsAre(4.5, 0, -1));
}

TEST(ReadSentencePairs, ReadsOtherNamesSeparatorsAndNoNames) {
  const auto named = ReadPairs("a.csv", "sentence1;sentence2;similarity_score\nA, a;B;2\n");
  ASSERT_TRUE(named.has_value());
  EXPECT_THAT(named->first, ElementsAre("A, a"));
  EXPECT_THAT(named->scores, ElementsAre(2));
  const auto plain = ReadPairs("a.csv", "\"A, a\",B,3\nC,D,1\n");
  ASSERT_TRUE(plain.has_value());
  EXPECT_THAT(plain->first, ElementsAre("A, a", "C"));
  EXPECT_THAT(plain->scores, ElementsAre(3, 1));
}

TEST(ReadSentencePairs, LeavesOtherFilesToTheReadersOfTexts) {
  EXPECT_FALSE(ReadPairs("a.jsonl", "{\"text\": \"A\"}\n").has_value());
  EXPECT_FALSE(ReadPairs("a.jsonl", "not json\n").has_value());
  EXPECT_FALSE(ReadPairs("a.jsonl", "").has_value());
  EXPECT_FALSE(ReadPairs("a.txt", "main\tMSR\t2012\t1\t5.000\tA\tB\n").has_value());
  EXPECT_FALSE(ReadSentencePairs("absent.npz").has_value());
}

TEST(ReadSentencePairs, SaysWhatIsWrongAndWhere) {
  const std::string pair = R"({"sentence1": "A", "sentence2": "B", "score": 1})"
                           "\n";
  EXPECT_THAT(PairsError("a.jsonl", pair + "{\n"),
              HasSubstr("a.jsonl:2: expected one JSON object"));
  EXPECT_THAT(PairsError("a.jsonl", pair + "{\"text\": \"A\"}"), HasSubstr("a.jsonl:2: no string"));
  EXPECT_THAT(PairsError("a.jsonl", R"({"sentence1": "A", "sentence2": "B"})"),
              HasSubstr("a.jsonl:1: no number \"score\""));
  EXPECT_THAT(PairsError("a.jsonl", R"({"sentence1": " ", "sentence2": "B", "score": 1})"),
              HasSubstr("a.jsonl:1: a sentence is empty"));
  EXPECT_THAT(PairsError("a.csv", "A,B\n"), HasSubstr("a.csv:1: 2 fields separated by commas"));
  EXPECT_THAT(PairsError("a.csv", "A,B,3\nC,D\n"), HasSubstr("a.csv:2: 2 fields"));
  EXPECT_THAT(PairsError("a.csv", "A,B,3\n\"C\n,D,1\n"), HasSubstr("a.csv:2: a quote"));
  EXPECT_THAT(PairsError("a.tsv", "A,B,3\n"), HasSubstr("a.tsv:1: 1 fields separated by tabs"));
  EXPECT_THAT(PairsError("a.tsv", "\t\t\t\tmuch\tA\tB\n"), HasSubstr("'much' is not a number"));
  EXPECT_THAT(PairsError("a.tsv", "\t\t\t\tnan\tA\tB\n"), HasSubstr("the score is not finite"));
  EXPECT_THAT(PairsError("a.tsv", "score\tsentence1\tsentence2\n"), HasSubstr("no pairs"));
  EXPECT_THAT(PairsError("a.tsv", "\xFF"), HasSubstr("invalid UTF-8 at byte 0"));
  EXPECT_THROW((void)ReadSentencePairs("absent.tsv"), InputError);
}

}  // namespace
}  // namespace ptq
