// How an error's message is taken apart for scripts.
#include "json_output.h"

#include <gtest/gtest.h>

#include "ptq/cli/command.h"

namespace ptq {
namespace {

nlohmann::ordered_json ErrorOf(const std::string& message) {
  return ErrorJson(ExitCode::kInput, message)["error"];
}

TEST(ErrorJson, HasStatusKindAndParts) {
  const auto json = ErrorJson(ExitCode::kOutput, "cannot create 'a b/out': no space; free some");
  EXPECT_EQ(json["schema_version"], kOutputSchemaVersion);
  EXPECT_EQ(json["tool"]["name"], "quantize");
  EXPECT_EQ(json["error"]["status"], 5);
  EXPECT_EQ(json["error"]["kind"], "output");
  EXPECT_EQ(json["error"]["what"], "cannot create 'a b/out': no space");
  EXPECT_EQ(json["error"]["where"], "a b/out");
  EXPECT_EQ(json["error"]["hint"], "free some");
}

TEST(ErrorJson, KnowsOptionsAndLinesOfFiles) {
  EXPECT_EQ(ErrorOf("--bits: '5' is none of 2, 3, 4, 8")["where"], "--bits");
  EXPECT_EQ(ErrorOf("'r.toml' line 12: there is no key 'bist'; did you mean 'bits'?")["where"],
            "r.toml:12");
}

TEST(ErrorJson, LeavesOutWhatAMessageDoesNotSay) {
  const auto error = ErrorOf("the model's graph is empty");
  EXPECT_EQ(error["what"], "the model's graph is empty");
  EXPECT_TRUE(error["where"].is_null());
  EXPECT_TRUE(error["hint"].is_null());
}

TEST(OneLine, HasNoControlCharactersAndAnEnd) {
  EXPECT_EQ(OneLine("a\nb\x1b[1m'; do"), "a?b?[1m'; do");
  const std::string line = OneLine("what '" + std::string(50000, 'x') + "'; do that");
  EXPECT_LE(line.size(), 1010U);
  EXPECT_TRUE(line.starts_with("what 'xxx"));
  EXPECT_TRUE(line.ends_with("xxx'; do that"));
}

TEST(ErrorJson, KindsAreThoseOfTheStatuses) {
  const std::pair<ExitCode, const char*> kinds[] = {
      {ExitCode::kInternal, "internal"}, {ExitCode::kUsage, "usage"},
      {ExitCode::kInput, "input"},       {ExitCode::kUnsupported, "unsupported"},
      {ExitCode::kOutput, "output"},     {ExitCode::kResource, "resource"},
      {ExitCode::kQuality, "quality"},   {ExitCode::kInterrupted, "interrupted"},
  };
  for (const auto& [code, kind] : kinds) {
    const auto error = ErrorJson(code, "x")["error"];
    EXPECT_EQ(error["kind"], kind);
    EXPECT_EQ(error["status"], static_cast<int>(code));
  }
}

}  // namespace
}  // namespace ptq
