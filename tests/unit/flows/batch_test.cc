// How jobs are shared out, and which models a directory holds.
#include "ptq/flows/batch.h"

#include <set>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/flows/find_models.h"
#include "ptq/flows/registry.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

BatchJob NamedJob(const std::string& id, int64_t bytes) {
  BatchJob job;
  job.id = id;
  job.bytes = bytes;
  return job;
}

TEST(JobsOf, DealsTheLargestRoundAndKeepsTheOrder) {
  const std::vector<BatchJob> jobs = {NamedJob("a", 1), NamedJob("b", 9), NamedJob("c", 8),
                                      NamedJob("d", 2), NamedJob("e", 7)};
  const auto ids = [&](int64_t index, int64_t count) {
    std::vector<std::string> own;
    for (const BatchJob& job : JobsOf({index, count, ""}, jobs)) own.push_back(job.id);
    return own;
  };
  // By size: b, c, e, d, a.
  EXPECT_THAT(ids(0, 2), ElementsAre("a", "b", "e"));
  EXPECT_THAT(ids(1, 2), ElementsAre("c", "d"));
  EXPECT_THAT(ids(0, 1), ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_TRUE(ids(7, 8).empty());
}

TEST(RunBatch, RefusesTwoJobsOfOneName) {
  BatchRequest request;
  request.jobs = {NamedJob("a", 1), NamedJob("a", 2)};
  EXPECT_THROW((void)RunBatch(request), UsageError);
}

class FindModelsTest : public ::testing::Test {
 protected:
  std::vector<std::string> Bases(const std::filesystem::path& leave_out = {}) {
    std::vector<std::string> bases;
    for (const FoundModel& found : FindModels(directory_.path() / "m", leave_out)) {
      bases.push_back(found.base);
    }
    return bases;
  }
  testing::TempDirectory directory_;
};

TEST_F(FindModelsTest, TakesDirectoriesAndFilesThatDoNotBelongTogether) {
  directory_.Write("m/b/model.onnx", "x");
  directory_.Write("m/b/model_q4.onnx", "x");  // another form of it
  directory_.Write("m/org/c/onnx/model.onnx", "x");
  directory_.Write("m/loose/x.onnx", "x");
  directory_.Write("m/loose/y.onnx", "xyz");
  directory_.Write("m/parts/encoder_model.onnx", "x");
  directory_.Write("m/parts/decoder_model.onnx", "x");
  EXPECT_THAT(Bases(), ElementsAre("b", "loose-x", "loose-y", "org-c", "parts"));
}

TEST_F(FindModelsTest, LeavesOutHiddenOnesResultsAndWhatItIsTold) {
  directory_.Write("m/a/model.onnx", "x");
  directory_.Write("m/.hidden/model.onnx", "x");
  directory_.Write("m/made/model.onnx", "x");
  directory_.Write("m/made/quantization_metadata.json", "{}");
  directory_.Write("m/out/model.onnx", "x");
  EXPECT_THAT(Bases(directory_.path() / "m" / "out"), ElementsAre("a"));
}

TEST_F(FindModelsTest, FollowsLinksOnce) {
  directory_.Write("elsewhere/model.onnx", "x");
  directory_.Write("m/a/model.onnx", "x");
  std::filesystem::create_directory_symlink(directory_.path() / "elsewhere",
                                            directory_.path() / "m" / "linked");
  std::filesystem::create_directory_symlink(directory_.path() / "m",
                                            directory_.path() / "m" / "loop");
  EXPECT_THAT(Bases(), ElementsAre("a", "linked"));
}

TEST_F(FindModelsTest, IsAModelItself) {
  directory_.Write("m/model.onnx", "four");
  const auto found = FindModels(directory_.path() / "m");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].base, "m");
  EXPECT_EQ(found[0].bytes, 4);
  EXPECT_EQ(FindModels(directory_.path() / "m" / "model.onnx").at(0).base, "model");
  EXPECT_THROW((void)FindModels(directory_.path() / "absent"), InputError);
}

TEST(Registry, KeepsResultsAndFailuresApart) {
  const testing::TempDirectory directory;
  directory.Write("r/model.onnx", "model");
  directory.Write("r/quantization_metadata.json",
                  R"({"tool": {"name": "quantize", "version": "1"}, "sidecars": ["card"],
                      "recipe": {"method": "awq", "bits": 4, "group_size": 32},
                      "source": {"file": "m.onnx", "sha256": "ab"},
                      "files": [{"file": "model.onnx", "bytes": 5}, {"file": "card", "bytes": 9}]})");
  EnterFailure(directory.path(), "r", 3, "it is broken");
  EnterFailure(directory.path(), "s", 4, "it is odd");
  EnterResult(directory.path(), "r", "base", "");
  const auto registry = ReadRegistry(directory.path());
  const auto& entry = registry["models"]["r"];
  EXPECT_EQ(entry["file"], "r/model.onnx");
  EXPECT_EQ(entry["bytes"], 5);
  EXPECT_EQ(entry["method"], "awq");
  EXPECT_EQ(entry["files"][0]["sha256"],
            "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4");
  EXPECT_FALSE(registry["failures"].contains("r"));
  EXPECT_EQ(registry["failures"]["s"]["status"], 4);
}

TEST(Registry, IsNeverTakenForSomethingElse) {
  const testing::TempDirectory directory;
  directory.Write("registry.json", "[1]");
  EXPECT_THROW(EnterFailure(directory.path(), "s", 4, "it is odd"), InputError);
  EXPECT_EQ(ReadTextFile(directory.path() / "registry.json"), "[1]");
}

}  // namespace
}  // namespace ptq
