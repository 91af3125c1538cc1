// What a checkpoint gives back, and to which run.
#include "checkpoint.h"

#include <fstream>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

using testing::TempDirectory;

const nlohmann::ordered_json kIdentity = {{"recipe", {{"bits", 4}, {"method", "awq"}}},
                                          {"source", "abc"}};

CheckpointRecord Record(size_t segments) {
  CheckpointRecord record;
  record.segments = segments;
  record.edits = {{"position", segments * 100}};
  ScaledSite scaled;
  scaled.site.value = 7;
  scaled.site.linears = {1, 2};
  scaled.site.fold.kind = Fold::Kind::kLinearRows;
  scaled.site.fold.gains = {{3, 1}};
  scaled.site.fold.linear = 5;
  scaled.site.fold.bias = {9, 2};
  scaled.site.fold.row_of_channel = {0, 1, 0, 1};
  scaled.scale = {0.1f, 3.0f, 1e-3f, 1.0f / 3};
  record.scaled.push_back(scaled);
  Outcome outcome;
  outcome.loss_after = 1.0 / 3;
  outcome.loss_before = 1e-300;
  outcome.scaling = "awq-duo";
  outcome.alpha = 0.35;
  outcome.fold = "rows";
  outcome.tokens = 99;
  outcome.bytes_after = 12345;
  record.outcomes.emplace_back(1, outcome);
  return record;
}

CutStore Cuts(const std::filesystem::path& directory, float value) {
  CutStore cuts(1, 1 << 20, directory);
  cuts.Put(0, {{4, Tensor::Filled<float>({3}, value)}});
  return cuts;
}

TEST(Checkpoint, GivesBackEveryRecordAndWhatBelongsToTheLast) {
  const TempDirectory directory;
  {
    Checkpoint checkpoint(directory.path(), kIdentity);
    EXPECT_EQ(checkpoint.segments(), 0u);
    for (size_t i = 1; i <= 3; ++i) {
      const CutStore cuts = Cuts(directory.path(), float(i));
      const Values expectation = {{8, Tensor::Filled<float>({2}, 1.0f / float(i))}};
      checkpoint.Save(Record(2 * i), cuts.TakeImage(), expectation);
      EXPECT_EQ(checkpoint.segments(), 2 * i);
    }
  }
  const Checkpoint resumed(directory.path(), kIdentity);
  EXPECT_EQ(resumed.segments(), 6u);
  ASSERT_EQ(resumed.records().size(), 3u);
  const CheckpointRecord& last = resumed.records().back();
  const CheckpointRecord expected = Record(6);
  EXPECT_EQ(last.edits, expected.edits);
  ASSERT_EQ(last.scaled.size(), 1u);
  const Site& site = last.scaled[0].site;
  EXPECT_EQ(last.scaled[0].scale, expected.scaled[0].scale) << "every bit counts";
  EXPECT_EQ(site.value, 7);
  EXPECT_EQ(site.linears, (std::vector<int>{1, 2}));
  EXPECT_EQ(site.fold.kind, Fold::Kind::kLinearRows);
  EXPECT_EQ(site.fold.gains[0].node, 3);
  EXPECT_EQ(site.fold.bias.input, 2);
  EXPECT_EQ(site.fold.row_of_channel, expected.scaled[0].site.fold.row_of_channel);
  ASSERT_EQ(last.outcomes.size(), 1u);
  EXPECT_EQ(last.outcomes[0].second.loss_after, 1.0 / 3);
  EXPECT_EQ(last.outcomes[0].second.loss_before, 1e-300);
  EXPECT_EQ(last.outcomes[0].second.scaling, "awq-duo");
  EXPECT_EQ(last.outcomes[0].second.bytes_after, 12345);
  CutStore cuts(1, 1 << 20, directory.path());
  resumed.LoadCuts(cuts);
  EXPECT_EQ(cuts.Get(0).at(4).data<float>()[0], 3.0f);
  EXPECT_EQ(resumed.LoadExpectation().at(8).data<float>()[1], 1.0f / 3);
}

TEST(Checkpoint, KeepsTheActivationsOfTheLastRecordOnly) {
  const TempDirectory directory;
  Checkpoint checkpoint(directory.path(), kIdentity);
  for (size_t i = 1; i <= 4; ++i) {
    const CutStore cuts = Cuts(directory.path(), 1.0f);
    checkpoint.Save(Record(i), cuts.TakeImage(), {});
  }
  int cuts = 0, records = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "checkpoint")) {
    cuts += entry.path().extension() == ".cut";
    records += entry.path().extension() == ".cbor";
  }
  EXPECT_EQ(cuts, 1);
  EXPECT_EQ(records, 4);
  checkpoint.Remove();
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Checkpoint, IsNotForAnotherRun) {
  const TempDirectory directory;
  { Checkpoint(directory.path(), kIdentity).Save(Record(1), {}, {}); }
  nlohmann::ordered_json other = kIdentity;
  other["recipe"]["bits"] = 8;
  try {
    const Checkpoint resumed(directory.path(), other);
    FAIL() << "resumed another recipe";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("recipe.bits: 4 -> 8"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(Checkpoint(directory.path(), kIdentity).segments(), 1u);
}

TEST(Checkpoint, DoesNotCountARecordThatWasNotFinished) {
  const TempDirectory directory;
  { Checkpoint(directory.path(), kIdentity).Save(Record(1), {}, {}); }
  directory.Write("checkpoint/step-1.cbor.part", "half");
  directory.Write("checkpoint/step-1.cut", "half");
  EXPECT_EQ(Checkpoint(directory.path(), kIdentity).segments(), 1u);
}

TEST(Checkpoint, RefusesARecordThatIsDamaged) {
  const TempDirectory directory;
  { Checkpoint(directory.path(), kIdentity).Save(Record(1), {}, {}); }
  const std::string bytes = ReadTextFile(directory.path() / "checkpoint" / "step-0.cbor");
  for (size_t kept = 0; kept < bytes.size(); kept += 13) {
    directory.Write("checkpoint/step-0.cbor", bytes.substr(0, kept));
    EXPECT_THROW(Checkpoint(directory.path(), kIdentity), InputError) << kept;
  }
}

TEST(Checkpoint, StartsWhenThereIsNothingToResume) {
  const TempDirectory directory;
  const auto file = directory.path() / "checkpoint" / "identity.json";
  Checkpoint checkpoint(directory.path(), kIdentity);
  EXPECT_EQ(checkpoint.segments(), 0u);
  EXPECT_FALSE(std::filesystem::exists(file)) << "many a run ends before it needs one";
  checkpoint.Save(Record(1), {}, {});
  EXPECT_TRUE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace ptq
