// What a tokenizer encodes, and where it is looked for.
#include "ptq/text/tokenizer.h"

#include "small_tokenizer.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::SmallTokenizer;
using testing::SmallTokenizerJson;
using testing::TempDirectory;

TEST(Tokenizer, AddsSpecialTokensOnlyWhenAsked) {
  const Tokenizer tokenizer = SmallTokenizer();
  EXPECT_THAT(tokenizer.Encode("w3 w1", true), ElementsAre(101, 3, 1, 102));
  EXPECT_THAT(tokenizer.Encode("w3 w1", false), ElementsAre(3, 1));
}

TEST(Tokenizer, IgnoresTruncationAndPaddingOfTheFile) {
  EXPECT_EQ(SmallTokenizer().Encode("w1 w2 w3 w4 w5", true).size(), 7u);
  EXPECT_EQ(SmallTokenizer().Encode("w1", false).size(), 1u);
}

TEST(Tokenizer, EncodesNothingAsNothing) {
  EXPECT_TRUE(SmallTokenizer().Encode("", false).empty());
}

TEST(Tokenizer, KnowsItsVocabulary) {
  const Tokenizer tokenizer = SmallTokenizer();
  EXPECT_EQ(tokenizer.VocabSize(), 103);
  EXPECT_EQ(tokenizer.TokenToId("[E]"), 102);
  EXPECT_EQ(tokenizer.TokenToId("nothing"), std::nullopt);
}

TEST(Tokenizer, DecodesWithOrWithoutSpecialTokens) {
  const Tokenizer tokenizer = SmallTokenizer();
  const std::vector<int64_t> ids = {101, 3, 102};
  EXPECT_EQ(tokenizer.Decode(ids, true), "w3");
  EXPECT_EQ(tokenizer.Decode(ids, false), "[B] w3 [E]");
  const std::vector<int64_t> negative = {-1};
  EXPECT_THROW((void)tokenizer.Decode(negative, true), InputError);
}

TEST(Tokenizer, TellsWhereTextIsNotUtf8) {
  try {
    (void)SmallTokenizer().Encode("w1 \xFF", true);
    FAIL() << "no exception";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("byte 3"));
  }
}

TEST(Tokenizer, NamesTheMalformedFile) {
  const TempDirectory directory;
  directory.Write("tokenizer.json", "{\"version\": \"1.0\"}");
  try {
    (void)Tokenizer::FromDirectory(directory.path());
    FAIL() << "no exception";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json: not a readable tokenizer"));
  }
}

TEST(Tokenizer, SaysWhatADirectoryWithoutOneNeeds) {
  const TempDirectory directory;
  EXPECT_THROW((void)Tokenizer::FromDirectory(directory.path()), InputError);
}

TEST(FindTokenizerDirectory, LooksBesideTheModelThenOneFolderUp) {
  const TempDirectory directory;
  const auto model = directory.Write("onnx/model.onnx", "");
  EXPECT_EQ(FindTokenizerDirectory(model), std::nullopt);
  directory.Write("tokenizer.json", SmallTokenizerJson());
  EXPECT_EQ(FindTokenizerDirectory(model), directory.path());
  EXPECT_EQ(FindTokenizerDirectory(directory.path() / "onnx/"), directory.path());
  EXPECT_EQ(FindTokenizerDirectory(directory.path()), directory.path());
  directory.Write("onnx/tokenizer.json", SmallTokenizerJson());
  EXPECT_EQ(FindTokenizerDirectory(model), directory.path() / "onnx");
}

TEST(TextLibraryVersions, AreTheCratesOwn) {
  EXPECT_THAT(GetTextLibraryVersions().tokenizers, ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\..*"));
  EXPECT_THAT(GetTextLibraryVersions().minijinja, ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\..*"));
}

}  // namespace
}  // namespace ptq
