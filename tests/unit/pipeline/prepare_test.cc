// How a search begins: what is noted, predicted, and compared with an interrupted run.
#include "prepare.h"

#include <string>
#include <utility>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

class PrepareTest : public ::testing::Test {
 protected:
  PrepareTest() {
    WriteNpz(directory_.path() / "ids.npz",
             {{"input_ids", Tensor::From<int64_t>({2, 3}, {1, 2, 3, 4, 5, 6})}});
    recipe_.source = directory_.Write("toy/model.onnx", testing::ToyDecoder(1).Bytes());
    recipe_.destination = directory_.path() / "result";
    recipe_.group_size = 16;
    recipe_.calibration.files = {directory_.path() / "ids.npz"};
  }

  /// What the search of the recipe's run starts with.
  [[nodiscard]] std::pair<RunReport, DiskNeed> Started() {
    const Source source(recipe_.source);
    RunReport report = StartReport(source, recipe_, context_);
    SegmentSearch search(source, recipe_, report.plan, alone_, context_.inputs, {});
    const DiskNeed need =
        StartSearch(search, {recipe_, source, context_, "sha", directory_.path()}, report);
    return {std::move(report), need};
  }

  testing::TempDirectory directory_;
  Recipe recipe_;
  RunContext context_;
  Ranks alone_ = Ranks::Alone();
};

TEST_F(PrepareTest, StartSearchCountsSamplesAndPredictsMemoryAndRoom) {
  const auto [report, need] = Started();
  EXPECT_EQ(report.samples, 2);
  EXPECT_EQ(report.tokens, 6);
  EXPECT_GT(report.predicted_peak_bytes, 0);
  EXPECT_GT(need.result, 0);
  EXPECT_GT(need.activations, 0);
}

TEST_F(PrepareTest, StartSearchNeedsNoRoomForActivationsWhereNothingRuns) {
  recipe_.method = "rtn";
  const auto [report, need] = Started();
  EXPECT_EQ(report.samples, 0);
  EXPECT_EQ(need.activations, 0);
}

TEST_F(PrepareTest, IdentityOfTellsRecipesSourcesAndSamplesApart) {
  const Source source(recipe_.source);
  RunReport report = StartReport(source, recipe_, context_);
  SegmentSearch search(source, recipe_, report.plan, alone_, context_.inputs, {});
  const auto unread = IdentityOf(recipe_, source, "sha", search);
  (void)StartSearch(search, {recipe_, source, context_, "sha", directory_.path()}, report);
  const auto first = IdentityOf(recipe_, source, "sha", search);
  EXPECT_EQ(first, IdentityOf(recipe_, source, "sha", search));
  EXPECT_NE(first, unread);  // the samples
  EXPECT_NE(first, IdentityOf(recipe_, source, "another", search));
  recipe_.bits = 8;
  EXPECT_NE(first, IdentityOf(recipe_, source, "sha", search));
}

}  // namespace
}  // namespace ptq
