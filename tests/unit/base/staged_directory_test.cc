#include "ptq/base/staged_directory.h"

#include <filesystem>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

using testing::TempDirectory;

int64_t EntriesIn(const std::filesystem::path& path) {
  return std::distance(std::filesystem::directory_iterator(path), {});
}

TEST(StagedDirectory, AppearsAtCommitOnly) {
  const TempDirectory directory;
  const auto destination = directory.path() / "result";
  {
    StagedDirectory staged(destination, false);
    FileWriter writer(staged.path() / "file");
    writer.Write("content");
    writer.Close();
    EXPECT_FALSE(std::filesystem::exists(destination));
    staged.Commit();
    EXPECT_TRUE(std::filesystem::exists(destination));
  }
  EXPECT_EQ(ReadTextFile(destination / "file"), "content");
  EXPECT_EQ(EntriesIn(directory.path()), 1);
}

TEST(StagedDirectory, LeavesNothingWithoutCommit) {
  const TempDirectory directory;
  {
    const StagedDirectory staged(directory.path() / "result", false);
    FileWriter(staged.path() / "file").Close();
  }
  EXPECT_EQ(EntriesIn(directory.path()), 0);
}

TEST(StagedDirectory, RefusesAFilledDestination) {
  const TempDirectory directory;
  directory.Write("result/kept", "kept");
  EXPECT_THROW(StagedDirectory(directory.path() / "result", false), OutputError);
  EXPECT_EQ(ReadTextFile(directory.path() / "result" / "kept"), "kept");
}

TEST(StagedDirectory, FillsAnEmptyDestination) {
  const TempDirectory directory;
  std::filesystem::create_directory(directory.path() / "result");
  StagedDirectory staged(directory.path() / "result/", false);
  FileWriter(staged.path() / "file").Close();
  staged.Commit();
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "result" / "file"));
}

TEST(StagedDirectory, ReplacesTheDestinationAtCommitWithOverwrite) {
  const TempDirectory directory;
  directory.Write("result/old", "old");
  { const StagedDirectory abandoned(directory.path() / "result", true); }
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "result" / "old"));
  StagedDirectory staged(directory.path() / "result", true);
  FileWriter(staged.path() / "new").Close();
  staged.Commit();
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "result" / "new"));
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "result" / "old"));
  EXPECT_EQ(EntriesIn(directory.path()), 1);
}

TEST(StagedDirectory, RefusesADestinationWithoutAParent) {
  const TempDirectory directory;
  EXPECT_THROW(StagedDirectory(directory.path() / "no" / "result", false), OutputError);
}

TEST(StagedDirectory, IsTakenOverFromADeadProcess) {
  const TempDirectory directory;
  directory.Write(".result.part/left/behind", "half");
  {
    const StagedDirectory resumed(directory.path() / "result", false, /*resume=*/true);
    EXPECT_EQ(ReadTextFile(resumed.path() / "left" / "behind"), "half");
  }
  EXPECT_EQ(EntriesIn(directory.path()), 0);
  directory.Write(".result.part/left/behind", "half");
  StagedDirectory fresh(directory.path() / "result", false);
  EXPECT_FALSE(std::filesystem::exists(fresh.path() / "left"));
  fresh.Commit();
  EXPECT_EQ(EntriesIn(directory.path() / "result"), 0);
}

TEST(StagedDirectory, StaysWhenItIsKept) {
  const TempDirectory directory;
  {
    StagedDirectory staged(directory.path() / "result", false);
    FileWriter(staged.path() / "file").Close();
    staged.Keep();
  }
  EXPECT_TRUE(std::filesystem::exists(directory.path() / ".result.part" / "file"));
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "result"));
}

TEST(StagedDirectory, BelongsToOneRunAtATime) {
  const TempDirectory directory;
  const StagedDirectory first(directory.path() / "result", false);
  FileWriter(first.path() / "file").Close();
  EXPECT_THROW(StagedDirectory(directory.path() / "result", false), OutputError);
  EXPECT_TRUE(std::filesystem::exists(first.path() / "file"));
}

}  // namespace
}  // namespace ptq
