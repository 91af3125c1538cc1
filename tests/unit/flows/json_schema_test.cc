// What schemas allow, keyword by keyword, and that none is passed over.
#include "verification/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Errors(const char* schema, const char* value) {
  return SchemaErrors(Json::parse(schema), Json::parse(value));
}

TEST(SchemaErrors, NameThePlaceOfWhatIsNotAllowed) {
  const char* const schema = R"({"type": "object", "required": ["a"], "properties": {
      "a": {"type": "array", "items": {"$ref": "#/$defs/count"}}}, "additionalProperties": false,
      "$defs": {"count": {"type": "integer", "minimum": 0}}})";
  EXPECT_THAT(Errors(schema, R"({"a": [1, 2.0]})"), IsEmpty());
  EXPECT_THAT(Errors(schema, R"({"a": [1, -2]})"),
              ElementsAre("/a/1 is -2, allowed is at least 0"));
  EXPECT_THAT(Errors(schema, R"({"a": [1.5]})"),
              ElementsAre("/a/0 is of type number, not \"integer\""));
  EXPECT_THAT(Errors(schema, R"({"b": 1})"),
              ElementsAre(" has no member 'a'", "/b is not allowed"));
  EXPECT_THAT(Errors(schema, "[]"), ElementsAre(" is of type array, not \"object\""));
}

TEST(SchemaErrors, KnowEveryKeywordThatTheSchemasUse) {
  const std::tuple<const char*, const char*, const char*> kCases[] = {
      {R"({"type": ["string", "null"]})", "null", "1"},
      {R"({"const": "1.6"})", R"("1.6")", R"("1.5")"},
      {R"({"enum": ["a", 2]})", "2", R"("2")"},
      {R"({"minItems": 2})", "[1, 2]", "[1]"},
      {R"({"maximum": 3})", "3", "3.5"},
      {R"({"exclusiveMinimum": 0})", "0.1", "0"},
      {R"({"pattern": "^[0-9a-f]{4}$"})", R"("00ff")", R"("00fg")"},
      {R"({"additionalProperties": {"type": "integer"}})", R"({"a": 1})", R"({"a": "b"})"},
      {R"({"oneOf": [{"type": "null"}, {"minimum": 2}]})", "2", "1"},
      {R"({"oneOf": [{"type": "number"}, {"minimum": 2}]})", "1", "2"}};
  for (const auto& [schema, good, bad] : kCases) {
    EXPECT_THAT(Errors(schema, good), IsEmpty()) << schema;
    EXPECT_EQ(Errors(schema, bad).size(), 1u) << schema;
  }
  EXPECT_THROW((void)Errors(R"({"uniqueItems": true})", "[]"), InternalError);
}

TEST(SchemaErrors, OfAlternativesAreThoseOfTheClosest) {
  EXPECT_THAT(Errors(R"({"oneOf": [
      {"type": "object", "required": ["a", "b", "c"]}, {"type": "object", "required": ["a"]}]})",
                     "{}"),
              ElementsAre(" has no member 'a'"));
}

TEST(SchemaErrors, OfLongTextsTakeNoDeepStack) {
  const Json value = std::string(1 << 22, 'a');
  EXPECT_EQ(SchemaErrors(Json::parse(R"({"pattern": "^(a|b)*$"})"), value).size(), 1u);
}

}  // namespace
}  // namespace ptq
