// Which points of a sweep no other beats.
#include "ptq/flows/sweep.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

SweepResult Point(int64_t bytes, double kl) {
  SweepResult result;
  result.bytes = bytes;
  result.figures = {{"ppl", "perplexity", 10.0, Better::kLower, "", true, 9.0},
                    {"kl", "kl", kl, Better::kLower, ""}};
  return result;
}

std::vector<bool> Pareto(std::vector<SweepResult> results) {
  MarkPareto(results);
  std::vector<bool> marks;
  for (const SweepResult& result : results) marks.push_back(result.pareto);
  return marks;
}

TEST(MarkPareto, LeavesOutWhatAnotherBeats) {
  EXPECT_THAT(Pareto({Point(10, 0.5), Point(20, 0.1), Point(20, 0.2), Point(30, 0.1), Point(5, 0.9),
                      Point(10, 0.5)}),
              ElementsAre(true, true, false, false, true, true));
}

TEST(MarkPareto, LeavesOutWhatFailedOrHasNoFigure) {
  SweepResult failed = Point(1, 0.0);
  failed.error = "no";
  EXPECT_THAT(Pareto({failed, Point(10, NAN), Point(20, 0.1)}), ElementsAre(false, false, true));
}

TEST(SweepResult, IsToldByWhatComparesWithTheSourceElseByItsLoss) {
  EXPECT_EQ(Point(1, 0.25).Badness(), 0.25);
  SweepResult result;
  result.relative_loss = 0.5;
  EXPECT_EQ(result.Badness(), 0.5);
  result.figures = {{"cosine", "cosine_mean", 0.9, Better::kHigher, ""}};
  EXPECT_EQ(result.Badness(), -0.9);
  result.figures = {{"ppl", "perplexity", 12.0, Better::kLower, "", true, {}}};
  EXPECT_EQ(result.Badness(), 12.0);
}

TEST(RunSweep, RefusesTwoPointsOfOneName) {
  SweepRequest request;
  request.points.resize(2);
  EXPECT_THROW((void)RunSweep(request), UsageError);
}

}  // namespace
}  // namespace ptq
