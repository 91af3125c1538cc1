// What is said of how far the work is: as a bar, a line and JSON.
#include "ptq/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ProgressState Half() {
  return {{"encoder.onnx", "quantizing"}, "layers.4.mlp.down_proj", 6, 12, 70};
}

TEST(ProgressBar, ShowsPhaseCountShareTimeAndDetail) {
  EXPECT_EQ(ProgressBar(Half(), 120),
            "encoder.onnx: quantizing 6/12  [##########----------]  50 %  1 min 10 s left  "
            "layers.4.mlp.down_proj");
}

TEST(ProgressBar, IsNeverAsWideAsTheTerminal) {
  ProgressState state = Half();
  for (const std::string& detail : {std::string(), std::string("x"), std::string(500, 'd')}) {
    state.detail = detail;
    for (int width = 0; width < 200; ++width) {
      EXPECT_LT(int(ProgressBar(state, width).size()), std::max(1, width)) << width;
    }
  }
}

TEST(ProgressBar, LeavesOutTheLeastImportantFirst) {
  EXPECT_EQ(ProgressBar(Half(), 62), "encoder.onnx: quantizing 6/12  50 %  1 min 10 s left");
  EXPECT_EQ(ProgressBar(Half(), 35), "encoder.onnx: quantizing  50 %");
  EXPECT_EQ(ProgressBar(Half(), 12), "encoder....");
}

TEST(ProgressBar, ShowsTimeWhereNobodyKnowsTheTotal) {
  EXPECT_EQ(ProgressBar({{"writing"}, "", 3, 0, 5.4}, 80), "writing  5 s");
}

TEST(ProgressBar, HoldsNoSignThatMovesTheCursor) {
  const ProgressState state = {{"a\r\x1b[2Jb\n"}, "caf\xC3\xA9\t\x7f", 1, 2, 1};
  for (const std::string& text : {ProgressBar(state, 80), ProgressLine(state)}) {
    for (const char c : text) EXPECT_TRUE(c >= ' ' && c <= '~') << text;
    EXPECT_THAT(text, HasSubstr("caf?"));
  }
}

TEST(ProgressLine, SaysTheSameInWords) {
  EXPECT_EQ(ProgressLine(Half()),
            "encoder.onnx: quantizing: 6 of 12 (50 %), 1 min 10 s left; layers.4.mlp.down_proj");
}

TEST(ProgressLine, DoesNotEstimateBeforeAnythingIsDone) {
  EXPECT_EQ(ProgressLine({{"quantizing"}, "", 0, 12, 7}), "quantizing: 0 of 12 (0 %), 7 s");
}

TEST(ProgressLine, DoesNotExpectToSkipMore) {
  EXPECT_EQ(ProgressLine({{"quantizing"}, "", 8, 12, 10, 6}),
            "quantizing: 8 of 12 (66 %), 20 s left");
}

TEST(ProgressLine, StaysAtTheTotal) {
  EXPECT_THAT(ProgressLine({{"quantizing"}, "", 30, 12, 7}), HasSubstr("12 of 12 (100 %)"));
}

TEST(ProgressJson, IsAnObjectWithNullsForWhatIsNotKnown) {
  EXPECT_EQ(ProgressJson({{"a \"b\"\n"}, "c\\d", 0, 0, 1.25}),
            "{\"progress\": {\"phase\": \"a \\\"b\\\"\\u000a\", \"detail\": \"c\\\\d\", "
            "\"done\": 0, \"total\": null, \"seconds\": 1.2, \"seconds_left\": null}}");
  EXPECT_THAT(ProgressJson(Half()), HasSubstr("\"seconds_left\": 70.0"));
}

TEST(Progress, ShowsNothingUntilAModeIsChosen) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("quiet", 2);
    Progress::ShowDetail("detail");
    progress.Advance();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, GivesAnObjectAtTheBeginningAndTheEndOfEachPhase) {
  SetProgressMode(ProgressMode::kJson);
  ::testing::internal::CaptureStderr();
  {
    const Progress whole("whole");
    Progress part("part", 2);
    part.Advance(2);
  }
  SetProgressMode(ProgressMode::kNone);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
  EXPECT_THAT(text, HasSubstr("\"whole: part\""));
  EXPECT_THAT(text, HasSubstr("\"done\": 2"));
  EXPECT_THAT(text, Not(HasSubstr("\r")));
}

}  // namespace
}  // namespace ptq
