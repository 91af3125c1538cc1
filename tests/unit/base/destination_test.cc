// Which destinations are free, which may be replaced, and which are refused.
#include "ptq/base/destination.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "support/temp_directory.h"
#include <gtest/gtest.h>
#include <unistd.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using testing::TempDirectory;

/// As if runs wrote a file "ours" that lists what they wrote.
Replacement Overwrite(bool overwrite = true) {
  return {overwrite, [](const fs::path& directory) -> std::optional<std::vector<WrittenFile>> {
            if (!fs::exists(directory / "ours")) return std::nullopt;
            return std::vector<WrittenFile>{{"ours"}, {"model.onnx", 5}, {"onnx/data", -1}};
          }};
}

std::string Refusal(const fs::path& path, const Replacement& replacement = Overwrite()) {
  try {
    (void)Examine(path, replacement);
  } catch (const OutputError& error) {
    return error.what();
  }
  return "";
}

class DestinationTest : public ::testing::Test {
 protected:
  DestinationTest() : out_(directory_.path() / "out") {}
  void WriteResult() const {
    directory_.Write("out/ours", "");
    directory_.Write("out/model.onnx", "model");
    directory_.Write("out/onnx/data", "data");
  }
  TempDirectory directory_;
  fs::path out_;
};

TEST_F(DestinationTest, IsFreeWhereNothingIs) {
  const Destination found = Examine(directory_.path() / "no" / "out" / "", {});
  EXPECT_FALSE(found.exists || found.in_place);
  EXPECT_EQ(found.directory, fs::canonical(directory_.path()) / "no" / "out");
  EXPECT_EQ(found.Staging(), found.directory.parent_path() / ".out.part");
}

TEST_F(DestinationTest, IsFreeWhenItIsEmpty) {
  fs::create_directory(out_);
  const Destination found = Examine(out_, {});
  EXPECT_TRUE(found.exists && !found.in_place && found.replaced.empty());
}

TEST_F(DestinationTest, KeepsWhatAnEmptyVolumeHolds) {
  fs::create_directories(out_ / "lost+found");
  const Destination found = Examine(out_, {});
  EXPECT_TRUE(found.in_place);
  EXPECT_EQ(found.Staging(), found.directory / ".out.part");
}

TEST_F(DestinationTest, IsRefusedWithFilesOfOthersWhateverIsAsked) {
  directory_.Write("out/thesis.txt", "precious");
  EXPECT_NE(Refusal(out_).find("thesis.txt"), std::string::npos);
  EXPECT_NE(Refusal(out_, {}).find("thesis.txt"), std::string::npos);
}

TEST_F(DestinationTest, IsRefusedWhenItIsNoDirectory) {
  directory_.Write("out", "a file");
  EXPECT_NE(Refusal(out_).find("not a directory"), std::string::npos);
  fs::create_symlink("out", directory_.path() / "link");
  EXPECT_NE(Refusal(directory_.path() / "link").find("not a directory"), std::string::npos);
  fs::create_symlink("nowhere", directory_.path() / "dangling");
  EXPECT_NE(Refusal(directory_.path() / "dangling").find("leads nowhere"), std::string::npos);
}

TEST_F(DestinationTest, ReplacesAResultOnlyWhenAsked) {
  WriteResult();
  EXPECT_NE(Refusal(out_, Overwrite(false)).find("--overwrite"), std::string::npos);
  const Destination found = Examine(out_, Overwrite());
  EXPECT_EQ(found.replaced.size(), 3u);
  EXPECT_FALSE(found.in_place);
}

TEST_F(DestinationTest, KeepsWhatOthersPutBesideAResult) {
  WriteResult();
  directory_.Write("out/notes.txt", "mine");
  const Destination found = Examine(out_, Overwrite());
  EXPECT_TRUE(found.in_place);
  EXPECT_EQ(found.replaced.size(), 3u);
}

TEST_F(DestinationTest, KeepsAnEmptyFolderBesideAResult) {
  WriteResult();
  fs::create_directory(out_ / "mine");
  EXPECT_TRUE(Examine(out_, Overwrite()).in_place);
}

TEST_F(DestinationTest, IsRefusedWhenAResultIsNotWhatWasWritten) {
  WriteResult();
  directory_.Write("out/model.onnx", "another model");
  EXPECT_NE(Refusal(out_).find("model.onnx"), std::string::npos);
  fs::remove(out_ / "model.onnx");
  EXPECT_EQ(Refusal(out_), "");
  fs::create_symlink("/etc/hostname", out_ / "model.onnx");
  EXPECT_NE(Refusal(out_).find("model.onnx"), std::string::npos);
}

TEST_F(DestinationTest, IsFilledInPlaceBehindALinkAndAsWorkingDirectory) {
  fs::create_directory(out_);
  fs::create_directory_symlink("out", directory_.path() / "link");
  const Destination linked = Examine(directory_.path() / "link" / "", {});
  EXPECT_TRUE(linked.in_place);
  EXPECT_EQ(linked.directory, fs::canonical(out_));
  const fs::path before = fs::current_path();
  fs::current_path(out_);
  const bool here = Examine(".", {}).in_place;
  fs::current_path(before);
  EXPECT_TRUE(here);
  EXPECT_FALSE(Examine(out_, {}).in_place);
}

TEST_F(DestinationTest, FollowsDotsAsTheSystemDoes) {
  fs::create_directories(directory_.path() / "elsewhere" / "deep");
  fs::create_directory_symlink("elsewhere/deep", directory_.path() / "link");
  EXPECT_EQ(Examine(directory_.path() / "link" / ".." / "out", {}).directory,
            fs::canonical(directory_.path()) / "elsewhere" / "out");
}

TEST_F(DestinationTest, OutputFilesAreNoLinksDirectoriesDevicesOrInputs) {
  const fs::path input = directory_.Write("in.npz", "input");
  const fs::path old = directory_.Write("old.npz", "old");
  EXPECT_NO_THROW(CheckOutputFile(directory_.path() / "new.npz", {input}));
  EXPECT_NO_THROW(CheckOutputFile(old, {input, directory_.path() / "missing"}));
  EXPECT_THROW(CheckOutputFile(input, {old, input}), OutputError);
  fs::create_hard_link(input, directory_.path() / "same.npz");
  EXPECT_THROW(CheckOutputFile(directory_.path() / "same.npz", {input}), OutputError);
  fs::create_symlink("old.npz", directory_.path() / "link.npz");
  EXPECT_THROW(CheckOutputFile(directory_.path() / "link.npz", {}), OutputError);
  EXPECT_THROW(CheckOutputFile(directory_.path(), {}), OutputError);
  EXPECT_THROW(CheckOutputFile("/dev/null", {}), OutputError);
}

}  // namespace
}  // namespace ptq
