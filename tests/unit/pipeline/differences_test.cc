// How the differences between two descriptions are named, shortened and listed.
#include "differences.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Json = nlohmann::ordered_json;

TEST(Differences, NamesEveryMemberThatDiffers) {
  const Json before = {{"recipe", {{"bits", 4}, {"method", "awq"}, {"exclude", Json::array()}}},
                       {"gone", true}};
  Json now = before;
  EXPECT_THAT(Differences(before, now), IsEmpty());
  now["recipe"]["bits"] = 8;
  now["recipe"]["exclude"] = {"lm_head"};
  now["recipe"]["new"] = nullptr;
  now.erase("gone");
  EXPECT_THAT(Differences(before, now),
              ElementsAre("recipe.bits: 4 -> 8", "recipe.exclude: [] -> [\"lm_head\"]",
                          "recipe.new: none -> none", "gone: true -> none"));
}

TEST(Differences, ShortensHashesAndLongValues) {
  const Json before = {{"sha256", std::string(64, 'a')}, {"text", std::string(500, 'x')}};
  const Json now = {{"sha256", std::string(64, 'b')}, {"text", "\xff\n"}};
  EXPECT_THAT(Differences(before, now, "source"),
              ElementsAre("source.sha256: aaaaaaaaaaaa... -> bbbbbbbbbbbb...",
                          "source.text: \"" + std::string(59, 'x') + "... -> \"\\ufffd\\n\""));
}

TEST(Differences, AreListedUpToAFew) {
  EXPECT_EQ(Listed({"a", "b"}), "a, b");
  EXPECT_EQ(Listed({"a", "b", "c", "d", "e", "f"}), "a, b, c, d, and 2 more");
}

TEST(Differences, StopARunThatWouldGoOnWithSomethingElse) {
  const testing::TempDirectory directory;
  const Json identity = {{"bits", 4}};
  const auto check = [&](const std::string& text) {
    CheckIdentity(directory.Write("identity.json", text), identity, "the run in 'x'");
  };
  EXPECT_NO_THROW(check(identity.dump(2)));
  for (const auto& [text, words] : {std::pair("{\"bits\": 8}", "bits: 8 -> 4; undo that"),
                                    std::pair("{\"bits\"", "changed since: unreadable")}) {
    try {
      check(text);
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("cannot resume the run in 'x'; "));
      EXPECT_THAT(error.what(), ::testing::HasSubstr(words));
    }
  }
}

}  // namespace
}  // namespace ptq
