// JSON from text and back.
#include "ptq/base/json.h"

#include <limits>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(Json, ComesBackAsItWas) {
  const auto json = ParseJson<nlohmann::ordered_json>(R"({"b": [1, 2.5], "a": null})");
  EXPECT_EQ(DumpJson(json), R"({"b":[1,2.5],"a":null})");
  EXPECT_EQ(DumpJson(ParseJson<nlohmann::json>(R"({"b": 1, "a": 2})"), 1),
            "{\n \"a\": 2,\n \"b\": 1\n}");
}

TEST(Json, IsDiscardedWhereTheTextIsNone) {
  EXPECT_TRUE(ParseJson<nlohmann::json>("{\"a\": ").is_discarded());
  EXPECT_TRUE(ParseJson<nlohmann::ordered_json>("").is_discarded());
}

TEST(Json, ReplacesWhatIsNoUtf8) {
  EXPECT_EQ(DumpJson(nlohmann::json("a\xff")), "\"a\xef\xbf\xbd\"");
}

TEST(Json, ForPeopleHasNumbersOnOneLine) {
  const std::string text =
      "{\n  \"b\": [1, 2.5, null],\n  \"a\": [],\n  \"c\": [\n    \"x, y\",\n    [3]\n  ],\n"
      "  \"d\": {\n    \"\\\"\": {}\n  }\n}";
  const auto json = ParseJson<nlohmann::ordered_json>(text);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(DumpForPeople(json), text);
}

TEST(NumberOrNull, IsNullForWhatJsonCannotWrite) {
  EXPECT_EQ(NumberOrNull(0.5), 0.5);
  EXPECT_TRUE(NumberOrNull(std::nullopt).is_null());
  EXPECT_TRUE(NumberOrNull(std::numeric_limits<double>::infinity()).is_null());
  EXPECT_TRUE(NumberOrNull(std::numeric_limits<double>::quiet_NaN()).is_null());
}

TEST(MemberOrNull, IsNullWhereThereIsNone) {
  const nlohmann::ordered_json object = {{"a", 1}};
  EXPECT_EQ(MemberOrNull(object, "a"), 1);
  EXPECT_TRUE(MemberOrNull(object, "b").is_null());
  EXPECT_TRUE(MemberOrNull(nullptr, "a").is_null());
  EXPECT_TRUE(MemberOrNull({1, 2}, "a").is_null());
}

TEST(Json, IsDiscardedWhereItIsNestedWithoutEnd) {
  const auto nested = [](size_t depth) {
    return "[\"[[\\\"[\", " + std::string(depth, '[') + std::string(depth, ']') + "]";
  };
  EXPECT_FALSE(ParseJson<nlohmann::json>(nested(200)).is_discarded());
  EXPECT_TRUE(ParseJson<nlohmann::json>(nested(300)).is_discarded());
  EXPECT_TRUE(ParseJson<nlohmann::json>(std::string(200000, '[')).is_discarded());
}

TEST(Json, IsRefusedWhereAMemberIsMissing) {
  const nlohmann::json object = {{"a", 1}};
  EXPECT_THROW((void)object["b"], InputError);
}

TEST(WithJsonOf, NamesTheFile) {
  const auto read = [](const char* text) {
    return WithJsonOf("m.json", [&] { return ParseJson<nlohmann::json>(text).at("a").get<int>(); });
  };
  EXPECT_EQ(read(R"({"a": 7})"), 7);
  for (const char* text : {R"({"a": "x"})", R"({"b": 7})", "[]"}) {
    try {
      (void)read(text);
      FAIL() << text;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("'m.json' has another form"));
      EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("exception")));
    }
  }
  EXPECT_THROW(WithJsonOf("m.json", [] { throw OutputError("full"); }), OutputError);
}

TEST(CountIn, IsAtLeastZeroAndFitsIntoSums) {
  const nlohmann::ordered_json object = {{"a", 7},   {"b", -1},   {"c", int64_t{1} << 62},
                                         {"d", "x"}, {"f", 1e20}, {"g", 3.0}};
  EXPECT_EQ(CountIn(object, "a"), 7);
  EXPECT_THROW((void)CountIn(object, "b"), InputError);
  EXPECT_THROW((void)CountIn(object, "c"), InputError);
  EXPECT_THROW((void)CountIn(object, "f"), InputError);
  EXPECT_EQ(CountIn(object, "g"), 3);
  EXPECT_THROW((void)CountIn(object, "d"), nlohmann::json::exception);
  EXPECT_THROW((void)CountIn(object, "e"), nlohmann::json::exception);
}

}  // namespace
}  // namespace ptq
