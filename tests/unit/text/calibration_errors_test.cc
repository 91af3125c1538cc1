// Each unusable calibration file gives one line that says what is wrong, where, and what to do.
#include "small_tokenizer.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/text/calibration.h"
#include "ptq/text/chat_template.h"

namespace ptq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::SmallTokenizer;
using testing::TempDirectory;

/// The message of the InputError for a file of the given content.
std::string ErrorFor(const std::string& name, const std::string& content,
                     CalibrationOptions options = {}, const ChatTemplate* chat = nullptr) {
  const TempDirectory directory;
  options.files = {directory.Write(name, content)};
  const Tokenizer tokenizer = SmallTokenizer();
  try {
    (void)ReadCalibration(options, &tokenizer, chat);
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(CalibrationErrors, MissingFile) {
  CalibrationOptions options;
  options.files = {"/nonexistent/a.txt"};
  const Tokenizer tokenizer = SmallTokenizer();
  EXPECT_THROW((void)ReadCalibration(options, &tokenizer, nullptr), InputError);
}

TEST(CalibrationErrors, NothingUsable) {
  EXPECT_THAT(ErrorFor("a.txt", ""), HasSubstr("a.txt: no usable calibration text"));
  EXPECT_THAT(ErrorFor("a.txt", " \n\t\n"), HasSubstr("no usable"));
  EXPECT_THAT(ErrorFor("a.jsonl", "{\"text\": \"\"}\n"), HasSubstr("(1 empty)"));
  EXPECT_THAT(ErrorFor("a.json", "[]"), HasSubstr("no usable"));
}

TEST(CalibrationErrors, MalformedJsonLineHasItsNumber) {
  EXPECT_THAT(ErrorFor("a.jsonl", "{\"text\": \"w1\"}\n\n{\"text\": \n"),
              AllOf(HasSubstr("a.jsonl:3: not valid JSON"), HasSubstr("\"messages\"")));
}

TEST(CalibrationErrors, MalformedJsonArrayHasItsLine) {
  EXPECT_THAT(ErrorFor("a.json", "[\n{\"text\": \"w1\"},\n{\"text\": ]\n"),
              HasSubstr("a.json:3: not valid JSON"));
  EXPECT_THAT(ErrorFor("a.json", "{}"), HasSubstr("expected a JSON array"));
}

TEST(CalibrationErrors, EntryWithoutTextNamesItsKeys) {
  EXPECT_THAT(ErrorFor("a.jsonl", "{\"question\": 1, \"answer\": 2}"),
              AllOf(HasSubstr("a.jsonl:1:"), HasSubstr("keys: question, answer")));
  EXPECT_THAT(ErrorFor("a.json", "[{\"text\": \"w1\"}, {\"text\": 5}]"), HasSubstr("entry 2"));
  EXPECT_THAT(ErrorFor("a.jsonl", "7"), HasSubstr("a.jsonl:1: expected an object"));
}

TEST(CalibrationErrors, MessagesWithoutRole) {
  EXPECT_THAT(ErrorFor("a.jsonl", "{\"messages\": [{\"content\": \"x\"}]}"), HasSubstr("\"role\""));
  EXPECT_THAT(ErrorFor("a.jsonl", "{\"messages\": \"x\"}"), HasSubstr("must be an array"));
}

TEST(CalibrationErrors, TemplateThatRefuses) {
  const ChatTemplate chat("{{ raise_exception('after user comes assistant') }}");
  EXPECT_THAT(ErrorFor("a.jsonl", "\n{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
                       {}, &chat),
              AllOf(HasSubstr("a.jsonl:2:"), HasSubstr("after user comes assistant")));
}

TEST(CalibrationErrors, InvalidUtf8HasItsByte) {
  for (const char* bad :
       {"\x80", "\xC0\xAF", "\xC3", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    EXPECT_THAT(ErrorFor("a.txt", std::string("w1 \xE2\x82\xAC ") + bad),
                HasSubstr("invalid UTF-8 at byte 7"));
  }
}

TEST(CalibrationErrors, TokenizerOfAnotherModel) {
  CalibrationOptions options;
  options.vocab_size = 102;  // the end token is 102
  EXPECT_THAT(ErrorFor("a.txt", "w1", options),
              AllOf(HasSubstr("token id 102"), HasSubstr("vocabulary of 102")));
}

TEST(CalibrationErrors, TextWithoutATokenizer) {
  const TempDirectory directory;
  CalibrationOptions options;
  options.files = {directory.Write("a.txt", "w1")};
  EXPECT_THROW((void)ReadCalibration(options, nullptr, nullptr), UsageError);
}

TEST(CalibrationErrors, SenselessOptions) {
  const Tokenizer tokenizer = SmallTokenizer();
  CalibrationOptions options;
  options.samples = 0;
  EXPECT_THROW((void)ReadCalibration(options, &tokenizer, nullptr), UsageError);
  options = {};
  options.seq_len = 0;
  EXPECT_THROW((void)ReadCalibration(options, &tokenizer, nullptr), UsageError);
}

}  // namespace
}  // namespace ptq
