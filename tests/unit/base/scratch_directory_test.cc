// Directories that go with their object.
#include "ptq/base/scratch_directory.h"

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

TEST(ScratchDirectory, IsANewOneAndGoesWithWhatIsInIt) {
  const testing::TempDirectory parent;
  std::filesystem::path path;
  {
    const ScratchDirectory first(parent.path()), second(parent.path());
    path = first.path();
    EXPECT_EQ(path.parent_path(), parent.path());
    EXPECT_NE(path, second.path());
    WriteFile(path / "file", "text");
  }
  EXPECT_TRUE(std::filesystem::is_empty(parent.path()));
}

TEST(ScratchDirectory, LiesAmongTemporaryFilesUnlessItIsToldOtherwise) {
  EXPECT_EQ(ScratchDirectory().path().parent_path(), std::filesystem::temp_directory_path());
}

TEST(ScratchDirectory, RefusesAParentThatIsNotThere) {
  const testing::TempDirectory parent;
  EXPECT_THROW(ScratchDirectory(parent.path() / "absent"), OutputError);
}

}  // namespace
}  // namespace ptq
