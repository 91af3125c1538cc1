// Tokenizers built from vocab.json and merges.txt; expected ids are worked out by hand.
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/text/tokenizer.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDirectory;

/// Bytes a b 1 2 space newline é (two bytes), the merges "a b" and " ab", and special tokens.
/// In byte-level BPE a space is written Ġ, a newline Ċ and the bytes of é are Ã ©.
TempDirectory& WriteFiles(TempDirectory& directory, const std::string& config) {
  directory.Write("vocab.json", R"({"a": 0, "b": 1, "1": 2, "2": 3, "Ġ": 4, "Ċ": 5, "Ã": 6,
    "©": 7, "ab": 8, "Ġab": 9, "12": 10, "<s>": 11, "</s>": 12, "<|endoftext|>": 13})");
  directory.Write("merges.txt", "#version: 0.2\na b\r\nĠ ab\n1 2\n");
  if (!config.empty()) directory.Write("tokenizer_config.json", config);
  return directory;
}

TEST(ByteLevelBpe, WithoutAConfigurationIsGpt2) {
  TempDirectory directory;
  const Tokenizer tokenizer = Tokenizer::FromDirectory(WriteFiles(directory, "").path());
  EXPECT_THAT(tokenizer.Encode("ab ab12\xC3\xA9", true), ElementsAre(8, 9, 10, 6, 7));
  EXPECT_THAT(tokenizer.Encode("a<|endoftext|>b", true), ElementsAre(0, 13, 1));
  const std::vector<int64_t> ids = {8, 9, 6, 7};
  EXPECT_EQ(tokenizer.Decode(ids, true), "ab ab\xC3\xA9");
}

TEST(ByteLevelBpe, Qwen2SplitsDigitsAndComposesCharacters) {
  TempDirectory directory;
  const Tokenizer tokenizer = Tokenizer::FromDirectory(
      WriteFiles(directory, R"({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "</s>"})")
          .path());
  // "12" stays two tokens although a merge exists; e + combining accent becomes é (NFC).
  EXPECT_THAT(tokenizer.Encode("ab12", true), ElementsAre(8, 2, 3));
  EXPECT_THAT(tokenizer.Encode("\xC3\xA9</s>", true), ElementsAre(6, 7, 12));
}

TEST(ByteLevelBpe, RobertaAddsBothEnds) {
  TempDirectory directory;
  const Tokenizer tokenizer = Tokenizer::FromDirectory(
      WriteFiles(directory, R"({"tokenizer_class": "RobertaTokenizer"})").path());
  EXPECT_THAT(tokenizer.Encode("ab", true), ElementsAre(11, 8, 12));
}

TEST(ByteLevelBpe, AddsABeginTokenWhenTheConfigurationSaysSo) {
  TempDirectory directory;
  const Tokenizer tokenizer = Tokenizer::FromDirectory(
      WriteFiles(directory, R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true,
                                "bos_token": {"content": "</s>"}})")
          .path());
  EXPECT_THAT(tokenizer.Encode("ab", true), ElementsAre(12, 8));
  EXPECT_THAT(tokenizer.Encode("ab", false), ElementsAre(8));
}

TEST(ByteLevelBpe, KnowsTokensAddedBesideTheVocabulary) {
  TempDirectory directory;
  const Tokenizer tokenizer = Tokenizer::FromDirectory(
      WriteFiles(directory, R"({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder":
        {"14": {"content": "<|im_start|>", "special": true}}})")
          .path());
  EXPECT_THAT(tokenizer.Encode("<|im_start|>ab", true), ElementsAre(14, 8));
  EXPECT_EQ(tokenizer.VocabSize(), 15);
}

TEST(ByteLevelBpe, RefusesAClassThatItDoesNotKnow) {
  TempDirectory directory;
  WriteFiles(directory, R"({"tokenizer_class": "CLIPTokenizer"})");
  EXPECT_THROW((void)Tokenizer::FromDirectory(directory.path()), UnsupportedError);
}

TEST(ByteLevelBpe, TellsTheLineOfAMalformedMerge) {
  TempDirectory directory;
  WriteFiles(directory, "");
  directory.Write("merges.txt", "#version: 0.2\na b\nab\n");
  try {
    (void)Tokenizer::FromDirectory(directory.path());
    FAIL() << "no exception";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("merges.txt:3:"));
  }
}

TEST(ByteLevelBpe, ReportsUnexpectedConfigurationAsInputError) {
  TempDirectory directory;
  WriteFiles(directory, R"({"added_tokens_decoder": {"x": {"content": "y"}}})");
  EXPECT_THROW((void)Tokenizer::FromDirectory(directory.path()), InputError);
}

}  // namespace
}  // namespace ptq
