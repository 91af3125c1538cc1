// What the library says of languages, secrets and patterns arrives, and so do its errors.
#include "ptq/text/screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

TEST(Screen, NamesLanguagesByEitherCode) {
  EXPECT_EQ(LanguageCode("en"), "eng");
  EXPECT_EQ(LanguageCode("deu"), "deu");
  EXPECT_THROW((void)LanguageCode("klingon"), UsageError);
  EXPECT_EQ(DetectLanguage("Bonjour tout le monde, comment allez-vous aujourd'hui?"), "fra");
}

TEST(Screen, MasksAndCounts) {
  const MaskedText masked = MaskSecrets("a@example.org and token=abcdef123456, b@example.org");
  EXPECT_EQ(masked.text, "<EMAIL> and token=<SECRET>, <EMAIL>");
  EXPECT_EQ(masked.count, 3);
  EXPECT_EQ(MaskSecrets("nothing here").count, 0);
}

TEST(Screen, PatternsMatchAtLines) {
  const TextPattern pattern("^b+$");
  EXPECT_TRUE(pattern.Matches("a\nbb\nc"));
  EXPECT_FALSE(pattern.Matches("abb"));
  try {
    (void)TextPattern("(open");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'(open' is no regular expression (unclosed group)"));
  }
}

}  // namespace
}  // namespace ptq
