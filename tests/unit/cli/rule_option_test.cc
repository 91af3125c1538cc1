// How rules are read from a line of text and from tables, and what is said of wrong ones.
#include "options/rule_option.h"

#include "options/values.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

TEST(ParseRule, ReadsEveryKey) {
  const Rule rule = ParseRule(
      "*.q_proj: bits=8 group=channel symmetric=no form=QDQ accuracy=0 method=awq-gptq "
      "scaling=none grid=clip rounding=nearest model=encoder");
  EXPECT_EQ(rule.pattern, "*.q_proj");
  EXPECT_EQ(rule.bits, 8);
  EXPECT_EQ(rule.group_size, 0);
  EXPECT_EQ(rule.symmetric, false);
  EXPECT_EQ(rule.form, "qdq");
  EXPECT_EQ(rule.accuracy_level, 0);
  EXPECT_EQ(rule.method, "awq-gptq");
  EXPECT_EQ(rule.scaling, "none");
  EXPECT_EQ(rule.grid, "clip");
  EXPECT_EQ(rule.rounding, "nearest");
  EXPECT_EQ(rule.model, "encoder");
}

TEST(ParseRule, TakesColonsAndBlanksIntoThePattern) {
  EXPECT_EQ(ParseRule("onnx::MatMul_3: bits=8").pattern, "onnx::MatMul_3");
  EXPECT_EQ(ParseRule("encoder_model:*.q: bits=8").pattern, "encoder_model:*.q");
  EXPECT_EQ(ParseRule("/a: b=c$/: bits=8").pattern, "/a: b=c$/");
}

TEST(ParseRule, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> wrong[] = {
      {"*.q", "is no rule; write it like"},
      {": bits=8", "is no rule"},
      {"a: ", "sets nothing"},
      {"a: bits", "'bits' is no key=value"},
      {"a: bit=8", "no key 'bit'; did you mean 'bits'?"},
      {"a: colour=red", "it has model, form, bits"},
      {"a: bits=5", "bits: '5' is none of 2, 3, 4, 7, 8"},
      {"a: group=48", "group: '48' is none of 16"},
      {"a: form=qd", "did you mean 'qdq'?"},
      {"a: accuracy=7", "accuracy: '7' is none of auto, 0, 1"},
      {"a: bits=8 bits=4", "'bits' stands twice"},
      {"/(/: bits=8", "no regular expression"},
  };
  for (const auto& [text, message] : wrong) {
    try {
      (void)ParseRule(text);
      ADD_FAILURE() << text;
    } catch (const BadValue& error) {
      EXPECT_THAT(error.what(), HasSubstr(message)) << text;
    }
  }
}

TEST(RuleText, BringsATableIntoOneLine) {
  const auto entries = ParseToml("[[rule]]\nbits = 8\npattern = 'a b: c'\nsymmetric = false", "r");
  EXPECT_EQ(RuleText(entries[0].tables[0]), "a b: c: bits=8 symmetric=false");
}

TEST(RuleText, RefusesWithTheLineOfTheKey) {
  const std::pair<const char*, const char*> wrong[] = {
      {"[[rule]]\npattern = 'a'\nbit = 8", "'r' line 3: a rule has no key 'bit'"},
      {"[[rule]]\npattern = 'a'\n\nbits = 5", "'r' line 4: bits: '5' is none of"},
      {"[[rule]]\npattern = 'a'\nbits = [4, 8]", "'r' line 3: 'bits' takes one value"},
      {"\n[[rule]]\nbits = 8", "'r' line 2: a rule needs a 'pattern'"},
      {"[[rule]]\npattern = 'a'", "'r' line 1: the rule sets nothing"},
  };
  for (const auto& [text, message] : wrong) {
    const auto entries = ParseToml(text, "r");
    try {
      (void)RuleText(entries[0].tables[0]);
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message)) << text;
    }
  }
}

}  // namespace
}  // namespace ptq
