// What becomes of the README of a model's repository.
#include "model_card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(QuantizedCard, AddsTheRelationAndAPointer) {
  const std::string card = QuantizedCard("---\nlicense: mit\nbase_model: a/b\n---\n\n# T\n", "c/d");
  EXPECT_THAT(card, StartsWith("---\nlicense: mit\nbase_model: a/b\n"
                               "base_model_relation: quantized\n---\n\n> "));
  EXPECT_THAT(card, HasSubstr("(quantization_metadata.json)"));
  EXPECT_THAT(card, EndsWith("\n\n# T\n"));
  EXPECT_EQ(QuantizedCard(card, ""), card);  // nothing is said twice
}

TEST(QuantizedCard, ReplacesAnotherRelationWithItsValue) {
  const std::string card = QuantizedCard(
      "---\nbase_model_relation: finetune\nbase_model:\n- a/b\ntags:\n- x\n---\n", "c/d");
  EXPECT_THAT(card, StartsWith("---\nbase_model_relation: quantized\nbase_model:\n- a/b\ntags:\n"
                               "- x\n---\n"));
}

TEST(QuantizedCard, NamesABaseModelWhereTheCardHasNone) {
  EXPECT_THAT(QuantizedCard("---\nbase_model:\ntags: [x]\n---\n", "c/d"),
              StartsWith("---\nbase_model: c/d\ntags: [x]\nbase_model_relation: quantized\n---\n"));
}

TEST(QuantizedCard, KeepsTheEndsOfLines) {
  const std::string card = QuantizedCard("---\r\nlicense: mit\r\n---\r\n# T\r\n", "");
  EXPECT_THAT(card, StartsWith("---\r\nlicense: mit\r\nbase_model_relation: quantized\r\n---\r\n"));
  for (size_t i = 0; i < card.size(); ++i) {
    if (card[i] == '\n') {
      EXPECT_EQ(card[i - 1], '\r') << i;
    }
  }
}

TEST(QuantizedCard, PointsWithoutAFrontMatter) {
  EXPECT_THAT(QuantizedCard("# T\n", ""), StartsWith("> "));
  EXPECT_THAT(QuantizedCard("# T\n", ""), Not(HasSubstr("base_model")));
  EXPECT_THAT(QuantizedCard("# T\n", "c/d"),
              StartsWith("---\nbase_model: c/d\nbase_model_relation: quantized\n---\n\n> "));
  // Rules around prose are no front matter.
  EXPECT_THAT(QuantizedCard("---\nSome prose.\n---\n", ""), EndsWith("---\nSome prose.\n---\n"));
  EXPECT_THAT(QuantizedCard("---\nlicense: mit\n", ""), EndsWith("---\nlicense: mit\n"));
  EXPECT_THAT(QuantizedCard("", ""), StartsWith("> "));
}

TEST(QuantizedCard, KeepsBytesThatAreNoUtf8) {
  EXPECT_THAT(QuantizedCard("---\nauthor: M\xFCller\n---\n\xE4\n", ""),
              HasSubstr("M\xFCller\nbase"));
  const std::string wide("\xFF\xFE#\0 \0", 6);
  EXPECT_EQ(QuantizedCard(wide, "c/d"), wide);
  EXPECT_THAT(QuantizedCard("\xEF\xBB\xBF---\na: b\n---\n", ""),
              StartsWith("\xEF\xBB\xBF---\na: b\nbase"));
}

}  // namespace
}  // namespace ptq
