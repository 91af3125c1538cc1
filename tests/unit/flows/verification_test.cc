// A report passes as long as nothing is wrong; a path without a result is no report.
#include "ptq/flows/verification.h"

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(VerificationReport, PassesWithSkippedChecksAndFailsWithAProblem) {
  VerificationReport report{"out",
                            {{"metadata", "", {}, "another version"}, {"files", "", {}, ""}}};
  EXPECT_TRUE(report.passed());
  report.checks.back().problems = {"'a' is missing"};
  EXPECT_FALSE(report.passed());
}

TEST(VerifyResult, RefusesWhatIsNoResult) {
  const testing::TempDirectory directory;
  EXPECT_THROW((void)VerifyResult({directory.path(), "", true}), InputError);
  directory.Write("quantization_metadata.json", R"({"schema_version": "1.6"})");
  EXPECT_THROW((void)VerifyResult({directory.path(), "", true}), InputError);
}

}  // namespace
}  // namespace ptq
