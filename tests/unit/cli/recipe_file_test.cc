// What recipe files may hold, and what is said of those that are wrong.
#include "options/recipe_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Kind = RecipeEntry::Kind;

TEST(ParseToml, ReadsValuesOfEachKind) {
  const auto entries = ParseToml(
      "# comment\n"
      "method = \"awq\"  # another\n"
      "bits = 4\n"
      "requantize = true\n"
      "exclude = ['*.o_proj',  # one\n  \"/up\\\\d/\",\n]\n"
      "calib_samples = 1_000\n"
      "format = qdq\n",
      "r.toml");
  ASSERT_EQ(entries.size(), 6U);
  EXPECT_EQ(entries[0].key, "method");
  EXPECT_THAT(entries[0].values, ElementsAre("awq"));
  EXPECT_EQ(entries[0].where, "'r.toml' line 2");
  EXPECT_EQ(entries[1].kind, Kind::kNumber);
  EXPECT_EQ(entries[2].kind, Kind::kBool);
  EXPECT_TRUE(entries[3].is_list);
  EXPECT_THAT(entries[3].values, ElementsAre("*.o_proj", "/up\\d/"));
  EXPECT_THAT(entries[4].values, ElementsAre("1000"));
  EXPECT_EQ(entries[4].where, "'r.toml' line 8");
  EXPECT_EQ(entries[5].kind, Kind::kText);
}

TEST(ParseToml, KnowsSectionsAndDots) {
  const auto entries = ParseToml("bits = 4\nstats.seed = 1\n[run]\nbits = 8\n", "r.toml");
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].section, "");
  EXPECT_EQ(entries[1].section, "stats");
  EXPECT_EQ(entries[1].key, "seed");
  EXPECT_EQ(entries[2].section, "run");
}

TEST(ParseToml, KnowsListsOfTables) {
  const auto entries = ParseToml(
      "bits = 4\n[[rule]]\npattern = 'a*'\nbits = 8\n\n[[ rule ]]  # second\npattern = \"b\"\n"
      "[stats]\nseed = 1\n",
      "r.toml");
  ASSERT_EQ(entries.size(), 3U);
  const RecipeEntry& rule = entries[1];
  EXPECT_EQ(rule.key, "rule");
  ASSERT_EQ(rule.tables.size(), 2U);
  EXPECT_EQ(rule.tables[0].where, "'r.toml' line 2");
  ASSERT_EQ(rule.tables[0].entries.size(), 2U);
  EXPECT_EQ(rule.tables[0].entries[1].where, "'r.toml' line 4");
  EXPECT_THAT(rule.tables[0].entries[1].values, ElementsAre("8"));
  EXPECT_THAT(rule.tables[1].entries[0].values, ElementsAre("b"));
  EXPECT_EQ(entries[2].section, "stats");
  const auto inlined =
      ParseToml("rule = [\n { pattern = 'a', bits = 8 },\n {pattern='b',bits=2}]", "r.toml");
  ASSERT_EQ(inlined.size(), 1U);
  ASSERT_EQ(inlined[0].tables.size(), 2U);
  EXPECT_EQ(inlined[0].tables[1].where, "'r.toml' line 3");
  EXPECT_THAT(inlined[0].tables[1].entries[1].values, ElementsAre("2"));
}

TEST(ParseToml, TakesLinesOfWindowsAndNoLastLineEnd) {
  const auto entries = ParseToml("bits = 4\r\n\r\nmethod = \"rtn\"", "r.toml");
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_THAT(entries[1].values, ElementsAre("rtn"));
}

TEST(ParseToml, RefusesWithTheLine) {
  const std::pair<const char*, const char*> wrong[] = {
      {"bits 4", "line 1: '='"},
      {"\nbits =", "line 2: 'bits' has no value"},
      {"bits = 4 5", "line 1: what follows"},
      {"a = \"x", "line 1: a text has no closing quote"},
      {"a = [1,\n2", "line 2: the list of 'a'"},
      {"a = [1 2]", "line 1: the list of 'a' needs ','"},
      {"a = 1\nb = 2\na = 3", "line 3: 'a' stands twice"},
      {"[run\na = 1", "line 1: a section"},
      {"a = {b = 1}", "line 1: 'a' is one value or a list"},
      {"= 4", "line 1: a key was expected"},
      {"a = \"\\q\"", "line 1: \\q"},
      {"[[a]]\nb = 1\nb = 2", "line 3: 'b' stands twice"},
      {"[[a]\nb = 1", "line 1: a table of a list"},
      {"a = 1\n[[a]]\nb = 2", "line 2: 'a' stands twice"},
      {"[[a]]\nb = 1\n[run]\n[[a]]\n[[b]]\nc.d = 1", "line 6: a key of a table has no '.'"},
      {"a = [{b = 1}, 2]", "line 1: the list of 'a' holds tables"},
      {"a = [{b = 1, c}]", "line 1: '=' was expected after 'c'"},
  };
  for (const auto& [text, message] : wrong) {
    try {
      (void)ParseToml(text, "r.toml");
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), StartsWith("'r.toml' ")) << text;
      EXPECT_THAT(error.what(), HasSubstr(message)) << text;
    }
  }
}

TEST(ParseJsonRecipe, ReadsARecipeAndAWholeMetadataFile) {
  const std::string recipe = "{\n\"method\": \"rtn\",\n\"exclude\": [], \"bits\": 8\n}";
  for (const std::string& text : {recipe, "{\"linears\": [{}], \"recipe\":" + recipe + "}"}) {
    const auto entries = ParseJsonRecipe(text, "r.json");
    ASSERT_EQ(entries.size(), 2U) << text;
    EXPECT_EQ(entries[0].where, "'r.json' line 2");
    EXPECT_EQ(entries[1].key, "bits");
    EXPECT_THAT(entries[1].values, ElementsAre("8"));
    EXPECT_EQ(entries[1].kind, Kind::kNumber);
  }
}

TEST(ParseJsonRecipe, KnowsListsOfTables) {
  const auto entries =
      ParseJsonRecipe("{\"bits\": 4,\n\"rule\": [{\"pattern\": \"a\", \"bits\": 8}]}", "r.json");
  ASSERT_EQ(entries.size(), 2U);
  ASSERT_EQ(entries[1].tables.size(), 1U);
  EXPECT_EQ(entries[1].tables[0].where, "'r.json' line 2: rule 1");
  EXPECT_THAT(entries[1].tables[0].entries[1].values, ElementsAre("8"));
}

TEST(ParseJsonRecipe, RefusesWithTheLine) {
  const std::pair<std::string, const char*> wrong[] = {
      {"{\n\"bits\": ", "line 2: not valid JSON, the file ends too early"},
      {"{\"bits\": 4,\n\"method\" \"rtn\"}", "line 2: not valid JSON"},
      {"{\n\"bits\": [[4]]}", "line 2: 'bits' is a text, a number"},
      {"{\"run\": {\n\"bits\": {}}}", "line 2: 'bits' is a text, a number"},
      {std::string(50000, '[') + std::string(50000, ']'), "nested too deeply"},
      {"{\"a\":" + std::string(50000, '['), "nested too deeply"},
  };
  for (const auto& [text, message] : wrong) {
    try {
      (void)ParseJsonRecipe(text, "r.json");
      ADD_FAILURE() << text.substr(0, 50);
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message)) << text.substr(0, 50);
    }
  }
}

}  // namespace
}  // namespace ptq
