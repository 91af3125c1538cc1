// Which names and links stay within a directory.
#include "ptq/base/confined_path.h"

#include <array>
#include <filesystem>
#include <string>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using testing::TempDirectory;

TEST(ConfinedName, TakesNamesBelowTheDirectory) {
  EXPECT_EQ(ConfinedName("weights.bin", "data"), "weights.bin");
  EXPECT_EQ(ConfinedName("./a//b/../weights.bin", "data"), "a/weights.bin");
  EXPECT_EQ(ConfinedName("..weights", "data"), "..weights");
}

TEST(ConfinedName, RefusesWhatLeavesTheDirectory) {
  using std::string_literals::operator""s;
  for (const std::string& name :
       {""s, "."s, "a/"s, "a/.."s, ".."s, "../x"s, "a/../../x"s, "/etc/passwd"s, "//x"s, "a\0b"s}) {
    EXPECT_THROW((void)ConfinedName(name, "data"), InputError) << name;
  }
}

TEST(ConfinedName, SaysWhatNamesItWithoutControlCharacters) {
  try {
    (void)ConfinedName("../\n\x1b[31m", "tensor 'w': external data");
    FAIL();
  } catch (const InputError& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("tensor 'w': external data '../??[31m'")) << message;
  }
}

TEST(ConfinedFile, FollowsLinksWithinTheRootOnly) {
  const TempDirectory directory;
  const fs::path root = directory.path() / "root";
  directory.Write("root/file", "inside");
  directory.Write("outside", "outside");
  fs::create_symlink("file", root / "link");
  fs::create_symlink("../outside", root / "escape");
  fs::create_directory_symlink("..", root / "up");
  EXPECT_EQ(ConfinedFile(root, "link", "data"), root / "link");
  EXPECT_EQ(ConfinedFile(root, "missing", "data"), root / "missing");
  EXPECT_THROW((void)ConfinedFile(root, "escape", "data"), InputError);
  EXPECT_THROW((void)ConfinedFile(root, "up/outside", "data"), InputError);
  EXPECT_THROW((void)ConfinedFile(root, "up/missing", "data"), InputError);
}

TEST(ConfinedFile, AllowsTheOtherRootsThatItIsGiven) {
  const TempDirectory directory;
  directory.Write("blobs/abc", "content");
  fs::create_directories(directory.path() / "snapshots" / "1");
  const fs::path root = directory.path() / "snapshots" / "1";
  fs::create_symlink("../../blobs/abc", root / "model.onnx");
  EXPECT_THROW((void)ConfinedFile(root, "model.onnx", "data"), InputError);
  const std::array<fs::path, 1> also = {directory.path() / "blobs"};
  EXPECT_EQ(ConfinedFile(root, "model.onnx", "data", also), root / "model.onnx");
}

TEST(Contains, ResolvesLinksAndDots) {
  const TempDirectory directory;
  directory.Write("a/b/file", "");
  directory.Write("ab/file", "");
  const fs::path a = directory.path() / "a";
  fs::create_directory_symlink(a, directory.path() / "link");
  EXPECT_TRUE(Contains(a, a));
  EXPECT_TRUE(Contains(a / "", a / "b" / ".."));
  EXPECT_TRUE(Contains(directory.path() / "link", a / "b" / "file"));
  EXPECT_TRUE(Contains(a, directory.path() / "link" / "new" / "file"));
  EXPECT_FALSE(Contains(a / "b", a));
  EXPECT_FALSE(Contains(a, directory.path() / "ab" / "file"));
  EXPECT_TRUE(Contains("/", a));
}

}  // namespace
}  // namespace ptq
