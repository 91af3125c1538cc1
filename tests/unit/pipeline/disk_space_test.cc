// How much room a result and its checkpoints are predicted to take, and when it is too little.
#include "destination/disk_space.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/disk.h"

namespace ptq {
namespace {

using testing::TempDirectory;

constexpr int64_t kFar = int64_t{1} << 60;

TEST(DiskSpace, IsEnoughForLittleAndNeverForAnExbibyte) {
  const TempDirectory directory;
  EXPECT_EQ(MissingBytes(directory.path(), {1, 0}), 0);
  EXPECT_GT(MissingBytes(directory.path(), {kFar, kFar}), 0);
  CheckDiskSpace(directory.path(), {1, 1});
  try {
    CheckDiskSpace(directory.path(), {kFar, 0});
    FAIL() << "took an exbibyte";
  } catch (const NoSpaceError& error) {
    EXPECT_EQ(error.code(), ExitCode::kOutput);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("TiB are missing"));
  }
}

TEST(DiskSpace, CountsWhatIsThereAlreadyAsWritten) {
  const TempDirectory directory;
  const auto room = FreeBytes(directory.path());
  ASSERT_TRUE(room.has_value());
  directory.Write("data", std::string(100, 'x'));
  directory.Write("checkpoint/step", std::string(23, 'x'));
  EXPECT_EQ(BytesIn(directory.path()), 123);
}

TEST(DiskSpace, PredictsWhatBecomesOfLinearsAndOfTheRest) {
  RunReport report;
  report.outcomes.resize(2);
  for (Outcome& outcome : report.outcomes) {
    outcome.bytes_before = 4'000'000;
    outcome.bytes_after = 600'000;
  }
  const int64_t source = 10'000'000;
  const int64_t small = int64_t{1} << 20;
  EXPECT_EQ(PredictResultBytes(report, {}, source), 1'200'000 + 2'000'000 + small);
  Recipe half;
  half.half_floats = true;
  EXPECT_EQ(PredictResultBytes(report, half, source), 1'200'000 + 1'000'000 + small);
}

TEST(DiskSpace, PredictsActivationsOfTheNarrowestSiteTwice) {
  Plan plan;
  for (const int64_t k : {512, 128}) {
    Linear linear;
    linear.k = k;
    Site site;
    site.linears = {int(plan.linears.size())};
    plan.linears.push_back(linear);
    plan.sites.push_back(site);
  }
  EXPECT_EQ(PredictActivationBytes(plan, 1000, false), 1000 * 128 * 2 * 2);
  EXPECT_EQ(PredictActivationBytes(plan, 1000, true), 1000 * 128 * 2 * 2 * 2);
}

}  // namespace
}  // namespace ptq
