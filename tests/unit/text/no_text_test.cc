// The build without the Rust library: what needs it says so, with status "usage".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/text/chat_template.h"
#include "ptq/text/tokenizer.h"

namespace ptq {
namespace {

TEST(BuildWithoutText, TokenizerSaysToGiveTokenIds) {
  try {
    (void)Tokenizer::FromJson("{}", "tokenizer.json");
    FAIL() << "no exception";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("PTQ_TEXT=OFF"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr(".npz"));
  }
}

TEST(BuildWithoutText, ChatTemplateCannotRender) {
  EXPECT_THROW((void)ChatTemplate("x").Render("[]"), UsageError);
}

TEST(BuildWithoutText, HasNoLibraryVersions) { EXPECT_EQ(GetTextLibraryVersions().tokenizers, ""); }

}  // namespace
}  // namespace ptq
