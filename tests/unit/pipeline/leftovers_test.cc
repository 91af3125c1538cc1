// What is known to be left by a run, and what of it is removed.
#include "ptq/pipeline/leftovers.h"

#include <fstream>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/staged_directory.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using testing::TempDirectory;

std::vector<std::string> Names(const std::vector<Leftover>& leftovers) {
  std::vector<std::string> names;
  for (const Leftover& one : leftovers) names.push_back(one.path.filename().string());
  return names;
}

TEST(Leftovers, AreWhatBearsTheMarksOfThisProgram) {
  const TempDirectory directory;
  directory.Write(".a.part/lock", "");
  directory.Write(".a.part/checkpoint/step-0.cbor", "12345");
  directory.Write(".b.part/notes.txt", "of somebody else");
  directory.Write("download.iso.part", "of a browser");
  directory.Write("x.stats.part", R"(12345678{"__metadata__":{"format":"ptq-statistics-1"}})");
  directory.Write("result/model.onnx", "");
  const auto found = FindLeftovers(directory.path());
  ASSERT_EQ(Names(found), (std::vector<std::string>{".a.part", "x.stats.part"}));
  EXPECT_EQ(found[0].what, "checkpoint");
  EXPECT_EQ(found[0].bytes, 5);
  EXPECT_EQ(found[1].what, "unfinished statistics");
}

TEST(Leftovers, OfADestinationLieBesideIt) {
  const TempDirectory directory;
  directory.Write(".a.part/lock", "");
  EXPECT_EQ(Names(FindLeftovers(directory.path() / "a")), (std::vector<std::string>{".a.part"}));
  EXPECT_THROW((void)FindLeftovers(directory.path() / "b"), InputError);
}

TEST(Leftovers, AreRemovedUnlessSomebodyWorksInThem) {
  const TempDirectory directory;
  directory.Write(".a.part/lock", "");
  directory.Write(".a.part/data", "x");
  auto found = FindLeftovers(directory.path());
  {
    const StagedDirectory busy(directory.path() / "b", {});
    auto both = FindLeftovers(directory.path());
    ASSERT_EQ(both.size(), 2u);
    EXPECT_NE(both[1].kept, "");
    EXPECT_FALSE(RemoveLeftover(both[1]));
    EXPECT_TRUE(fs::exists(busy.path()));
  }
  EXPECT_TRUE(RemoveLeftover(found[0]));
  EXPECT_FALSE(fs::exists(directory.path() / ".a.part"));
}

TEST(Leftovers, DoNotLeadElsewhere) {
  const TempDirectory directory;
  directory.Write("victim/lock", "");
  directory.Write("victim/thesis.txt", "precious");
  fs::create_directory_symlink(directory.path() / "victim", directory.path() / ".a.part");
  EXPECT_TRUE(FindLeftovers(directory.path()).empty());
  directory.Write(".b.part/lock", "");
  fs::create_directory_symlink(directory.path() / "victim", directory.path() / ".b.part" / "in");
  auto found = FindLeftovers(directory.path());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(RemoveLeftover(found[0]));
  EXPECT_TRUE(fs::exists(directory.path() / "victim" / "thesis.txt"));
}

TEST(Leftovers, KeepAPreviousResultThatIsAllThereIs) {
  const TempDirectory directory;
  directory.Write(".a.part.old/quantization_metadata.json", "{}");
  auto found = FindLeftovers(directory.path());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_FALSE(RemoveLeftover(found[0]));
  directory.Write("a/model.onnx", "");
  found = FindLeftovers(directory.path());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(RemoveLeftover(found[0]));
}

}  // namespace
}  // namespace ptq
