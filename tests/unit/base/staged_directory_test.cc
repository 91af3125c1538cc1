// When a result appears, what it leaves alone, and what becomes of a commit that was killed.
#include "ptq/base/staged_directory.h"

#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "support/temp_directory.h"
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using testing::TempDirectory;

int64_t EntriesIn(const fs::path& path) { return std::distance(fs::directory_iterator(path), {}); }

/// Runs write a file "list" that names what they wrote, a line each.
std::optional<std::vector<WrittenFile>> Listed(const fs::path& directory) {
  if (!fs::is_regular_file(directory / "list")) return std::nullopt;
  std::vector<WrittenFile> files = {{"list"}};
  std::string line;
  for (const char c : ReadTextFile(directory / "list")) {
    if (c != '\n') {
      line += c;
    } else {
      files.push_back({std::exchange(line, "")});
    }
  }
  return files;
}

const Replacement kOverwrite = {true, Listed};

std::map<std::string, std::string> Contents(const fs::path& directory) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    contents[entry.path().lexically_relative(directory).string()] = ReadTextFile(entry.path());
  }
  return contents;
}

const std::map<std::string, std::string> kOld = {
    {"list", "model.onnx\nonnx/data\n"}, {"model.onnx", "old model"}, {"onnx/data", "old data"}};
const std::map<std::string, std::string> kNew = {{"list", "model.onnx\nmodel.onnx.data\n"},
                                                 {"model.onnx", "new model"},
                                                 {"model.onnx.data", "new data"}};

class StagedDirectoryTest : public ::testing::Test {
 protected:
  StagedDirectoryTest() : out_(directory_.path() / "out") {}

  void Write(const std::string& folder, const std::map<std::string, std::string>& files) const {
    for (const auto& [name, text] : files) directory_.Write(folder + "/" + name, text);
  }
  static void Fill(const StagedDirectory& staged) {
    for (const auto& [name, text] : kNew) WriteFile(staged.path() / name, text);
  }
  static std::string FailureOf(const std::function<void()>& action) {
    try {
      action();
    } catch (const OutputError& error) {
      return error.what();
    }
    return "";
  }

  TempDirectory directory_;
  fs::path out_;
};

TEST_F(StagedDirectoryTest, AppearsAtCommitOnly) {
  {
    StagedDirectory staged(out_);
    Fill(staged);
    EXPECT_FALSE(fs::exists(out_));
    staged.Commit();
    EXPECT_EQ(Contents(out_), kNew);
  }
  EXPECT_EQ(Contents(out_), kNew);
  EXPECT_EQ(EntriesIn(directory_.path()), 1);
}

TEST_F(StagedDirectoryTest, LeavesNothingWithoutCommit) {
  { Fill(StagedDirectory(out_ / "in" / "new" / "folders")); }
  EXPECT_EQ(EntriesIn(directory_.path()), 0);
}

TEST_F(StagedDirectoryTest, MakesTheParents) {
  StagedDirectory staged(out_ / "a" / "b");
  Fill(staged);
  staged.Commit();
  EXPECT_EQ(Contents(out_ / "a" / "b"), kNew);
  EXPECT_NE(FailureOf([&] { StagedDirectory(out_ / "a" / "b" / "list" / "c"); }), "");
}

TEST_F(StagedDirectoryTest, FillsAnEmptyDestination) {
  fs::create_directory(out_);
  StagedDirectory staged(out_ / "");
  Fill(staged);
  staged.Commit();
  EXPECT_EQ(Contents(out_), kNew);
  EXPECT_EQ(EntriesIn(directory_.path()), 1);
}

TEST_F(StagedDirectoryTest, ReplacesAResultAtCommit) {
  Write("out", kOld);
  EXPECT_THROW(StagedDirectory(out_, {false, Listed}), OutputError);
  { const StagedDirectory abandoned(out_, kOverwrite); }
  EXPECT_EQ(Contents(out_), kOld);
  StagedDirectory staged(out_, kOverwrite);
  Fill(staged);
  EXPECT_EQ(Contents(out_), kOld);
  staged.Commit();
  EXPECT_EQ(Contents(out_), kNew);
  EXPECT_FALSE(fs::exists(out_ / "onnx"));
  EXPECT_EQ(EntriesIn(directory_.path()), 1);
}

TEST_F(StagedDirectoryTest, KeepsWhatOthersPutBesideAResult) {
  Write("out", kOld);
  Write("out", {{"onnx/notes.txt", "mine"}});
  StagedDirectory staged(out_, kOverwrite);
  Fill(staged);
  staged.Commit();
  auto expected = kNew;
  expected["onnx/notes.txt"] = "mine";
  EXPECT_EQ(Contents(out_), expected);
  EXPECT_EQ(EntriesIn(directory_.path()), 1);
}

TEST_F(StagedDirectoryTest, FillsWhatALinkLeadsTo) {
  Write("real", kOld);
  fs::create_directory_symlink("real", out_);
  StagedDirectory staged(out_, kOverwrite);
  EXPECT_EQ(staged.path(), fs::canonical(directory_.path()) / "real" / ".real.part");
  Fill(staged);
  staged.Commit();
  EXPECT_TRUE(fs::is_symlink(out_));
  EXPECT_EQ(Contents(directory_.path() / "real"), kNew);
}

TEST_F(StagedDirectoryTest, LeavesTheOldFilesWhenAFileOfOthersIsInTheWay) {
  Write("out", kOld);
  Write("out", {{"mine.txt", "mine"}});
  StagedDirectory staged(out_, kOverwrite);
  Fill(staged);
  WriteFile(staged.path() / "mine.txt", "ours");
  const std::string why = FailureOf([&] { staged.Commit(); });
  auto expected = kOld;
  expected["mine.txt"] = "mine";
  for (const auto& [name, text] : kNew) expected["out.new/" + name] = text;
  expected["out.new/mine.txt"] = "ours";
  EXPECT_EQ(Contents(out_), expected);
  EXPECT_NE(why.find("out.new"), std::string::npos) << why;
}

TEST_F(StagedDirectoryTest, WritesIntoNoLinkedFolder) {
  Write("out", kOld);
  directory_.Write("victim/thesis.txt", "precious");
  fs::create_directory_symlink("../victim", out_ / "folder");
  StagedDirectory staged(out_, kOverwrite);
  Fill(staged);
  directory_.Write("out/.out.part/folder/thesis.txt", "ours");
  EXPECT_NE(FailureOf([&] { staged.Commit(); }), "");
  EXPECT_EQ(ReadTextFile(directory_.path() / "victim" / "thesis.txt"), "precious");
  EXPECT_EQ(ReadTextFile(out_ / "model.onnx"), "old model");
}

TEST_F(StagedDirectoryTest, KeepsWhatAppearsDuringTheRunAndTheResult) {
  for (const bool overwrite : {false, true}) {
    const TempDirectory directory;
    StagedDirectory staged(directory.path() / "out", {overwrite, Listed});
    Fill(staged);
    directory.Write("out/mine.txt", "mine");
    const std::string why = FailureOf([&] { staged.Commit(); });
    EXPECT_NE(why.find("out.new'"), std::string::npos) << why;
    EXPECT_EQ(Contents(directory.path() / "out.new"), kNew);
    EXPECT_EQ(Contents(directory.path() / "out").size(), 1u);
    EXPECT_EQ(EntriesIn(directory.path()), 2);
  }
}

TEST_F(StagedDirectoryTest, KeepsFilesAndLinksThatAppearDuringTheRun) {
  StagedDirectory staged(out_, kOverwrite);
  Fill(staged);
  directory_.Write("target", "mine");
  fs::create_symlink("target", out_);
  EXPECT_NE(FailureOf([&] { staged.Commit(); }), "");
  EXPECT_TRUE(fs::is_symlink(out_));
  EXPECT_EQ(Contents(directory_.path() / "out.new"), kNew);
}

TEST_F(StagedDirectoryTest, IsTakenOverFromADeadProcess) {
  Write(".out.part", {{"lock", ""}, {"left/behind", "half"}});
  {
    const StagedDirectory resumed(out_, {}, /*resume=*/true);
    EXPECT_EQ(ReadTextFile(resumed.path() / "left" / "behind"), "half");
  }
  EXPECT_EQ(EntriesIn(directory_.path()), 0);
  Write(".out.part", {{"lock", ""}, {"left/behind", "half"}});
  StagedDirectory fresh(out_);
  EXPECT_FALSE(fs::exists(fresh.path() / "left"));
  fresh.Commit();
  EXPECT_EQ(EntriesIn(out_), 0);
}

TEST_F(StagedDirectoryTest, StaysWhenItIsKept) {
  {
    StagedDirectory staged(out_);
    Fill(staged);
    staged.Keep();
  }
  EXPECT_TRUE(fs::exists(directory_.path() / ".out.part" / "model.onnx"));
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(StagedDirectoryTest, BelongsToOneRunAtATime) {
  const StagedDirectory first(out_);
  Fill(first);
  EXPECT_NE(FailureOf([&] { StagedDirectory second(out_); }).find("another run"),
            std::string::npos);
  EXPECT_TRUE(fs::exists(first.path() / "model.onnx"));
}

TEST_F(StagedDirectoryTest, IsNotMadeOfWhatOthersMade) {
  directory_.Write("victim/thesis.txt", "precious");
  const fs::path staging = directory_.path() / ".out.part";
  const auto refuses = [&](bool resume) {
    return FailureOf([&] { StagedDirectory staged(out_, kOverwrite, resume); }) != "" &&
           ReadTextFile(directory_.path() / "victim" / "thesis.txt") == "precious";
  };
  for (const bool resume : {false, true}) {
    fs::create_directory_symlink("victim", staging);
    EXPECT_TRUE(refuses(resume));
    fs::remove(staging);
    directory_.Write(".out.part", "a file");
    EXPECT_TRUE(refuses(resume));
    EXPECT_EQ(ReadTextFile(staging), "a file");
    fs::remove(staging);
    directory_.Write(".out.part/thesis.txt", "precious");
    EXPECT_TRUE(refuses(resume));
    EXPECT_TRUE(fs::exists(staging / "thesis.txt"));
    fs::create_symlink("../victim/thesis.txt", staging / "lock");
    EXPECT_TRUE(refuses(resume));
    fs::remove_all(staging);
  }
  for (const bool hard : {false, true}) {
    Write(".out.part", {{"lock", ""}});
    const fs::path victim = directory_.path() / "victim" / "thesis.txt";
    if (hard) fs::create_hard_link(victim, staging / "model.onnx.data");
    if (!hard) fs::create_directory_symlink("../victim", staging / "onnx");
    EXPECT_TRUE(refuses(/*resume=*/true));
    { const StagedDirectory emptied(out_); }
    EXPECT_EQ(ReadTextFile(victim), "precious");
  }
}

/// What a process that is killed while files are moved leaves behind, at each of the moves.
TEST_F(StagedDirectoryTest, CompletesOrTakesBackACommitThatWasKilled) {
  auto kept = std::map<std::string, std::string>{{"notes.txt", "mine"}};
  for (const size_t aside : {0u, 1u, 2u, 3u}) {
    for (const size_t moved : {0u, 1u, 2u, 3u}) {
      if (moved > 0 && aside < kOld.size()) continue;
      const TempDirectory directory;
      const auto write = [&](const std::string& folder, const auto& pair) {
        directory.Write("out/" + folder + pair.first, pair.second);
      };
      write("", *kept.begin());
      size_t i = 0;
      for (const auto& old : kOld) write(i++ < aside ? ".out.part/.previous/" : "", old);
      const bool all = aside == kOld.size();
      if (all) directory.Write("out/.out.part/.placing", "");
      i = 0;
      for (const auto& file : kNew) write(all && i++ < moved ? "" : ".out.part/", file);
      directory.Write("out/.out.part/lock", "");
      StagedDirectory::Recover(directory.path() / "out", kOverwrite);
      auto expected = all ? kNew : kOld;
      expected.merge(std::map(kept));
      if (aside > 0) {
        EXPECT_EQ(Contents(directory.path() / "out"), expected) << aside << " " << moved;
      }
      const StagedDirectory next(directory.path() / "out", kOverwrite);
      EXPECT_EQ(EntriesIn(next.path()), 1) << "only the lock";
    }
  }
}

TEST_F(StagedDirectoryTest, PutsBackAResultThatHasSteppedAside) {
  Write(".out.part.old", kOld);
  Write(".out.part", kNew);
  EXPECT_THROW(StagedDirectory(out_, {false, Listed}), OutputError);
  EXPECT_EQ(Contents(out_), kOld);
}

TEST_F(StagedDirectoryTest, RemovesAResultThatWasExchangedBeforeTheEnd) {
  Write("out", kNew);
  Write(".out.part", kOld);
  StagedDirectory staged(out_, kOverwrite, /*resume=*/true);
  EXPECT_EQ(EntriesIn(staged.path()), 1) << "nothing of it is resumed";
  staged.Commit();
  EXPECT_EQ(EntriesIn(out_), 0);
}

TEST_F(StagedDirectoryTest, IsNotRecoveredWhileItIsAtWork) {
  Write("out/.out.part", {{"lock", ""}, {".previous/list", "model.onnx\n"}});
  const int lock = ::open((out_ / ".out.part" / "lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  StagedDirectory::Recover(out_, kOverwrite);
  EXPECT_FALSE(fs::exists(out_ / "list"));
  ::close(lock);
  StagedDirectory::Recover(out_, kOverwrite);
  EXPECT_TRUE(fs::exists(out_ / "list"));
}

TEST_F(StagedDirectoryTest, CheckRefusesWhatTheConstructorRefusesAndChangesNothing) {
  directory_.Write("full/thesis.txt", "work");
  directory_.Write("file", "text");
  fs::create_directory_symlink("full", directory_.path() / ".linked.part");
  directory_.Write(".held.part/thesis.txt", "work");
  Write("old", kOld);
  const auto before = Contents(directory_.path());
  for (const char* name : {"full", "file", "file/out", "linked", "held", "old"}) {
    const fs::path path = directory_.path() / name;
    const Replacement none = {false, Listed};
    const std::string looked =
        FailureOf([&] { StagedDirectory::Check(path, none, /*resume=*/false); });
    EXPECT_EQ(Contents(directory_.path()), before);
    EXPECT_NE(looked, "") << name;
    EXPECT_EQ(looked, FailureOf([&] { const StagedDirectory staged(path, none); })) << name;
  }
}

TEST_F(StagedDirectoryTest, CheckTakesWhatTheConstructorTakesAndMakesNothing) {
  Write("old", kOld);
  const auto before = Contents(directory_.path());
  StagedDirectory::Check(out_, kOverwrite, /*resume=*/false);
  StagedDirectory::Check(directory_.path() / "a" / "b" / "out", kOverwrite, /*resume=*/false);
  StagedDirectory::Check(directory_.path() / "old", kOverwrite, /*resume=*/false);
  EXPECT_EQ(Contents(directory_.path()), before);
  EXPECT_FALSE(fs::exists(directory_.path() / "a"));
}

TEST_F(StagedDirectoryTest, CheckSeesThatAnotherProcessIsAtWork) {
  const StagedDirectory staged(out_, kOverwrite);
  EXPECT_NE(FailureOf([&] {
              StagedDirectory::Check(out_, kOverwrite, /*resume=*/true);
            }).find("another run is writing"),
            std::string::npos);
}

TEST_F(StagedDirectoryTest, CheckFindsLinksInWhatIsToBeGoneOnWith) {
  {
    StagedDirectory staged(out_, kOverwrite);
    staged.Keep();
    fs::create_symlink("/", staged.path() / "link");
  }
  StagedDirectory::Check(out_, kOverwrite, /*resume=*/false);
  EXPECT_NE(FailureOf([&] { StagedDirectory::Check(out_, kOverwrite, /*resume=*/true); }), "");
}

TEST_F(StagedDirectoryTest, ACommitThatWasKilledIsUnfinishedUntilItIsRecovered) {
  EXPECT_FALSE(StagedDirectory::IsUnfinished(out_, kOverwrite));
  Write(".out.part", kNew);
  directory_.Write(".out.part/.placing", "");
  fs::create_directory(out_);
  directory_.Write("out/thesis.txt", "work");
  EXPECT_TRUE(StagedDirectory::IsUnfinished(out_, kOverwrite));
  StagedDirectory::Check(out_, kOverwrite, /*resume=*/false);  // it is for the next run to complete
  StagedDirectory::Recover(out_, kOverwrite);
  EXPECT_FALSE(StagedDirectory::IsUnfinished(out_, kOverwrite));
}

}  // namespace
}  // namespace ptq
